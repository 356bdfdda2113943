"""Stack of assembly that is a whole function."""

from dscompile.emit.naked_frames import naked_frames

CODE = """\
static int32_t plain(int32_t x)
{
    return x;
}
__attribute__((naked, noinline)) static void four(const int8_t *x __attribute__((unused)), int32_t *y)
{
    __asm volatile(
        "push {r4-r11, lr}\\n"
        "vpush {d8-d15}\\n"
        "sub sp, #80\\n"
        "ldr r0, [sp, #4]\\n"
        "add sp, #80\\n"
        "vpop {d8-d15}\\n"
        "pop {r4-r11, pc}\\n");
}

__attribute__((naked, noinline)) static void low(int32_t x __attribute__((unused)))
{
    __asm volatile(
        "push {r4-r7, lr}\\n"
        "mov r4, r8\\n"
        "push {r4, r5}\\n");
}
__attribute__((naked, noinline)) static void vectors(int32_t x __attribute__((unused)))
{
    __asm volatile(
        "addi sp, sp, -32\\n"
        "sd s0, 0(sp)\\n"
        "addi sp, sp, 32\\n");
}
static void after(int32_t x)
{
    four(x);
}
"""


def test_what_a_naked_function_pushes_and_subtracts_is_its_frame() -> None:
    assert naked_frames(CODE) == {"four": 9 * 4 + 8 * 8 + 80, "low": 5 * 4 + 2 * 4, "vectors": 32}
