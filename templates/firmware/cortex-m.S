/* Start-up code and test harness for Cortex-M under an emulator; Thumb-1 instructions only, so that it suits every core.
 *
 * After reset it fills .data, clears .bss and stops at firmware_stop. Whoever runs it writes firmware_entry (a function's
 * address) and firmware_arguments and lets it continue: the stack below is painted, the function is called, its result and
 * the stack it touched are stored, and the program stops at firmware_stop again. A fault ends there too, with
 * firmware_fault[0] not zero: {exception, CFSR, BFAR or MMFAR, pc, lr}; pc is 0 if the stack pointer was lost.
 */
    .syntax unified
    .thumb

    .section .firmware.vectors, "a"
    .p2align 2
    .word firmware_stack_top
    .word firmware_reset
    .rept 14
    .word firmware_fault_handler
    .endr

    .section .firmware.text, "ax"
    .global firmware_reset, firmware_stop, firmware_resume, firmware_returned, firmware_fault_handler
    .type firmware_reset, %function
    .thumb_func
firmware_reset:
    ldr r0, =0xE000ED88             /* CPACR: full access to CP10 and CP11, the floating-point unit */
    ldr r1, =0x00F00000
    str r1, [r0]
#if __ARM_ARCH_6M__
    ldr r0, =0xE000ED14             /* CCR.UNALIGN_TRP: always set on ARMv6-M, settable on the M3 that may stand in for it */
    movs r1, #8
    str r1, [r0]
#endif
    dsb
    isb
#if __ARM_FEATURE_MVE
    ldr r0, =0x00040000             /* FPSCR.LTPSIZE: no tail predication */
    vmsr fpscr, r0
#endif
    ldr r0, =firmware_data_start
    ldr r1, =firmware_data_end
    ldr r2, =firmware_data_load
1:  cmp r0, r1
    bhs 2f
    ldmia r2!, {r3}
    stmia r0!, {r3}
    b 1b
2:  ldr r0, =firmware_bss_start
    ldr r1, =firmware_bss_end
    movs r2, #0
3:  cmp r0, r1
    bhs firmware_stop
    stmia r0!, {r2}
    b 3b

    .type firmware_stop, %function
    .thumb_func
firmware_stop:
    nop
firmware_resume:
    ldr r0, =firmware_fault         /* after a fault there is nothing to go on with */
    ldr r0, [r0]
    cmp r0, #0
    bne firmware_stop
    ldr r0, =firmware_stack_bottom
    ldr r1, =firmware_paint
    mov r2, sp
1:  cmp r0, r2
    bhs 2f
    stmia r0!, {r1}
    b 1b
2:  ldr r4, =firmware_entry
    ldr r4, [r4]
    ldr r5, =firmware_arguments
    ldmia r5!, {r0-r3}
    blx r4
    .type firmware_returned, %function
    .thumb_func
firmware_returned:
    ldr r1, =firmware_result
    str r0, [r1]
    ldr r0, =firmware_stack_bottom
    ldr r1, =firmware_paint
    mov r2, sp
3:  cmp r0, r2
    bhs 4f
    ldmia r0!, {r3}
    cmp r3, r1
    beq 3b
    subs r0, #4                     /* the deepest word that was written */
4:  subs r2, r2, r0
    ldr r1, =firmware_stack_used
    str r2, [r1]
    b firmware_stop

    .type firmware_fault_handler, %function
    .thumb_func
firmware_fault_handler:
    mrs r0, ipsr
    ldr r1, =0xE000ED28             /* CFSR, MMFAR at +12, BFAR at +16; they read as zero on ARMv6-M */
    ldr r2, [r1]
    ldr r3, [r1, #16]
    lsls r4, r2, #16
    bmi 5f                          /* BFARVALID, bit 15 */
    ldr r3, [r1, #12]
5:  mov r6, sp
    ldr r5, =firmware_stack_bottom
    cmp r6, r5
    blo 6f
    ldr r5, =firmware_stack_top
    cmp r6, r5
    bhs 6f
    ldr r4, [r6, #24]               /* the frame that the exception has pushed: r0-r3, r12, lr, pc, xpsr */
    ldr r5, [r6, #20]
    b 7f
6:  movs r4, #0                     /* no stack, so no frame: reading it would be a second fault */
    movs r5, #0
    ldr r6, =firmware_stack_top
    mov sp, r6
7:  ldr r1, =firmware_fault
    stmia r1!, {r0, r2, r3, r4, r5}
    b firmware_stop

    .p2align 2
    .ltorg

    .section .firmware.bss, "aw", %nobits
    .global firmware_entry, firmware_arguments, firmware_result, firmware_stack_used, firmware_fault
    .p2align 2
    .type firmware_entry, %object
    .size firmware_entry, 4
firmware_entry: .space 4
    .type firmware_arguments, %object
    .size firmware_arguments, 16
firmware_arguments: .space 16
    .type firmware_result, %object
    .size firmware_result, 4
firmware_result: .space 4
    .type firmware_stack_used, %object
    .size firmware_stack_used, 4
firmware_stack_used: .space 4
    .type firmware_fault, %object
    .size firmware_fault, 20
firmware_fault: .space 20
