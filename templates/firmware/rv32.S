/* Start-up code and test harness for RV32 and RV64 under an emulator; the twin of cortex-m.S.
 *
 * After reset it fills .data, clears .bss and stops at firmware_stop. Whoever runs it writes firmware_entry (a function's
 * address) and firmware_arguments and lets it continue: the stack below is painted, the function is called, its result and
 * the stack it touched are stored, and the program stops at firmware_stop again. A trap ends there too, with
 * firmware_fault[0] not zero: {mcause + 1, 0, mtval, mepc, ra}.
 */
#if __riscv_xlen == 64
#define LOAD ld
#define LOAD_WORD lwu /* with zeros above */
#define WORD 8
#else
#define LOAD lw
#define LOAD_WORD lw
#define WORD 4
#endif
    .section .firmware.vectors, "ax"
    .global firmware_reset, firmware_stop, firmware_resume, firmware_returned, firmware_fault_handler
    .type firmware_reset, @function
firmware_reset:
    la sp, firmware_stack_top
    la t0, firmware_fault_handler
    .insn i 0x73, 1, x0, t0, 0x305  /* csrw mtvec, t0: spelled out, as rv32imc names no Zicsr */
#if defined(__riscv_flen) || defined(__riscv_vector)
    li t0, 0x2200
    .insn i 0x73, 2, x0, t0, 0x300  /* csrs mstatus, t0: FS and VS, registers of floats and vectors may be used */
#endif
    la t0, firmware_data_start
    la t1, firmware_data_end
    la t2, firmware_data_load
1:  bgeu t0, t1, 2f
    lw t3, 0(t2)
    sw t3, 0(t0)
    addi t0, t0, 4
    addi t2, t2, 4
    j 1b
2:  la t0, firmware_bss_start
    la t1, firmware_bss_end
3:  bgeu t0, t1, firmware_stop
    sw zero, 0(t0)
    addi t0, t0, 4
    j 3b

    .section .firmware.text, "ax"
    .type firmware_stop, @function
firmware_stop:
    nop
firmware_resume:
    la t0, firmware_fault           /* after a fault there is nothing to go on with */
    lw t0, 0(t0)
    bnez t0, firmware_stop
    la t0, firmware_stack_bottom
    la t1, firmware_paint
1:  bgeu t0, sp, 2f
    sw t1, 0(t0)
    addi t0, t0, 4
    j 1b
2:  la t0, firmware_arguments
    LOAD a0, 0(t0)
    LOAD a1, WORD(t0)
    LOAD a2, 2 * WORD(t0)
    LOAD a3, 3 * WORD(t0)
    la t0, firmware_entry
    LOAD t0, 0(t0)
    jalr t0
    .type firmware_returned, @function
firmware_returned:
    la t0, firmware_result
    sw a0, 0(t0)
    la t0, firmware_stack_bottom
    la t1, firmware_paint
3:  bgeu t0, sp, 4f
    LOAD_WORD t2, 0(t0)
    addi t0, t0, 4
    beq t2, t1, 3b
    addi t0, t0, -4                 /* the deepest word that was written */
4:  sub t0, sp, t0
    la t1, firmware_stack_used
    sw t0, 0(t1)
    j firmware_stop

    .p2align 2                      /* mtvec's two lowest bits are its mode */
firmware_fault_handler:
    la t0, firmware_fault
    .insn i 0x73, 2, t1, x0, 0x342  /* csrr t1, mcause */
    addi t1, t1, 1
    sw t1, 0(t0)
    .insn i 0x73, 2, t1, x0, 0x343  /* csrr t1, mtval */
    sw t1, 8(t0)
    .insn i 0x73, 2, t1, x0, 0x341  /* csrr t1, mepc */
    sw t1, 12(t0)
    sw ra, 16(t0)
    j firmware_stop

    .section .firmware.bss, "aw", @nobits
    .global firmware_entry, firmware_arguments, firmware_result, firmware_stack_used, firmware_fault
    .p2align 3
    .type firmware_entry, @object
    .size firmware_entry, WORD
firmware_entry: .space WORD
    .p2align 3
    .type firmware_arguments, @object
    .size firmware_arguments, 4 * WORD
firmware_arguments: .space 4 * WORD
    .type firmware_result, @object
    .size firmware_result, 4
firmware_result: .space 4
    .type firmware_stack_used, @object
    .size firmware_stack_used, 4
firmware_stack_used: .space 4
    .type firmware_fault, @object
    .size firmware_fault, 20
firmware_fault: .space 20
