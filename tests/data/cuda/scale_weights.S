    .section .rodata.scale_weights, "a", %progbits
    .balign 256
    .globl scale_weights_begin
scale_weights_begin:
    .incbin "scale_weights.bin"
    .section .note.GNU-stack, "", %progbits
