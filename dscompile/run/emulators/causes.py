"""What processors call their faults, in words."""

from __future__ import annotations

# Configurable Fault Status Register: Armv7-M reference manual, B3.2.15. ARMv6-M has none.
_FAULT_STATUS = {
    25: "division by zero",
    24: "unaligned access",
    19: "use of a coprocessor or floating-point unit that is not there",
    18: "invalid return address or state",
    17: "an attempt to leave Thumb state",
    16: "undefined instruction",
    12: "stack overflow on exception entry",
    10: "bad access to memory",
    9: "bad access to memory",
    8: "instruction fetch from where there is no memory",
    1: "access that memory protection forbids",
    0: "instruction fetch that memory protection forbids",
}
_EXCEPTIONS = {2: "non-maskable interrupt", 3: "hard fault (ARMv6-M says no more: unaligned or bad access, undefined)"}
# mcause: RISC-V privileged architecture 1.12, table 3.6.
_TRAPS = {
    0: "unaligned instruction",
    1: "instruction fetch from where there is no memory",
    2: "undefined instruction",
    3: "breakpoint",
    4: "unaligned load",
    5: "bad access to memory",
    6: "unaligned store",
    7: "bad access to memory",
    11: "environment call",
}
_TRAPS_WITH_ADDRESS = (1, 4, 5, 6, 7)


def explain_arm(exception: int, status: int) -> tuple[str, bool]:
    """The fault in words, from the exception number and the CFSR, and whether an address register is valid."""
    for bit, kind in _FAULT_STATUS.items():
        if status >> bit & 1:
            return kind, bool(status >> 7 & 1 or status >> 15 & 1)
    return _EXCEPTIONS.get(exception, f"exception {exception}"), False


def explain_riscv(cause: int) -> tuple[str, bool]:
    """The trap in words, from mcause, and whether mtval holds an address."""
    return _TRAPS.get(cause, f"trap {cause}"), cause in _TRAPS_WITH_ADDRESS
