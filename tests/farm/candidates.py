"""Candidates in a few lines of C: packed functions of TVM's FFI, as the compiler's are, but of any behavior."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_HEADER = """\
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* dlpack.h, and TVMFFIAny of tvm/ffi/c_api.h */
typedef struct { void *data; int32_t device[2]; int32_t ndim; uint8_t code, bits; uint16_t lanes;
                 int64_t *shape; int64_t *strides; uint64_t byte_offset; } tensor;
typedef struct { int32_t type; uint32_t padding; union { int64_t number; tensor *tensor; }; } any;
extern void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);

static uint8_t *memory(const any *args, int64_t *size)
{
    const tensor *t = args[0].type == 7 ? args[0].tensor : (const tensor *)((const char *)args[0].tensor + 24);
    *size = t->shape[0];
    return (uint8_t *)t->data + t->byte_offset;
}
#define FUNCTION(name, body)                                                             \\
    int __tvm_ffi_##name(void *handle, const any *args, int32_t count, any *result)      \\
    {                                                                                    \\
        int64_t size;                                                                    \\
        uint8_t *bytes = memory(args, &size);                                            \\
        (void)handle; (void)count; (void)bytes;                                          \\
        result->type = 1;                                                                \\
        result->number = 0;                                                              \\
        body                                                                             \\
        return 0;                                                                        \\
    }
"""
_BODIES = {
    # The first byte tells the functions apart, the rest is doubled once, if it is aligned.
    "good": (
        "if ((uintptr_t)bytes % 64 == 0) bytes[0] = 1;",
        "if (bytes[0] == 1) { for (int64_t i = 1; i < size; i++) bytes[i] *= 2; bytes[0] = 2; }",
        "bytes[0] += 40;",
    ),
    "slow": ("", "usleep(20000);", ""),
    "wrong": ("", "memset(bytes, 0x55, (size_t)size);", ""),
    "crash": ("", "*(volatile int *)16 = 1;", ""),
    "abort": ("", "abort();", ""),
    "exit": ("", "exit(3);", ""),
    "hang": ("", 'for (;;) { __asm__ volatile(""); }', ""),
    "sleep": ("", "for (;;) sleep(1000);", ""),
    "hungry": (
        "",
        "for (int i = 0; i < 512; i++) { char *p = malloc(16 << 20); if (p) memset(p, 1, 16 << 20); }bytes[0] = 9;",
        "",
    ),
    "huge": ("", "char *p = malloc(8ull << 30); memset(p, 1, 8ull << 30); bytes[0] = (uint8_t)p[size];", ""),
    "raises": ('TVMFFIErrorSetRaisedFromCStr("ValueError", "no such tile"); return -1;', "", ""),
    "returns": ("", "result->number = 7;", ""),
    "silent": ("", "return -1;", ""),
    "forks": ("", "if (fork() == 0) for (;;) sleep(1000);", ""),
    "closes": ("", "for (int i = 3; i < 1024; i++) close(i);", ""),
}


class Candidates:
    """Libraries by behavior, each compiled once."""

    def __init__(self, directory: Path, compiler: str = "gcc") -> None:
        self._directory = directory
        self._compiler = compiler

    def __getitem__(self, behavior: str) -> Path:
        """The library whose functions behave like that. Behaviors are the keys of the table above."""
        library = self._directory / f"{behavior}.so"
        if not library.exists():
            prepare, main, finish = _BODIES[behavior]
            source = library.with_suffix(".c")
            source.write_text(
                f"{_HEADER}FUNCTION(prepare, {prepare})\nFUNCTION(main, {main})\nFUNCTION(finish, {finish})\n"
            )
            compile_shared(source, library, self._compiler)
        return library

    def incomplete(self) -> Path:
        """A library without the function `main`."""
        library = self._directory / "incomplete.so"
        library.with_suffix(".c").write_text(f"{_HEADER}FUNCTION(prepare, )\nFUNCTION(finish, )\n")
        compile_shared(library.with_suffix(".c"), library, self._compiler)
        return library


def compile_shared(source: Path, library: Path, compiler: str) -> None:
    assert shutil.which(compiler), compiler
    subprocess.run([compiler, "-O1", "-fPIC", "-shared", "-w", "-o", str(library), str(source)], check=True)
