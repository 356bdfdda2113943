#!/usr/bin/env bash
# Installs the cross compilers and emulators that the tests use beside those of pip (zig, unicorn), CMake and g++ for the
# tests of packagings, clang (with its sanitizers) and cppcheck as second readers of the generated C, llvm-mca, and Chromium,
# which opens the pages that inspect writes.
#
#     tools/install_emulators.sh
#
# With apt-get and as root it installs what is missing. Otherwise it says what to run and succeeds, as the tests then do
# with pip's tools alone; with DSCOMPILE_REQUIRE_TOOLS set, as in continuous integration, a missing tool is an error.
set -euo pipefail

programs=(
    arm-none-eabi-gcc riscv64-unknown-elf-gcc aarch64-linux-gnu-gcc
    qemu-system-arm qemu-system-riscv32 qemu-system-riscv64 qemu-aarch64
    cmake g++ clang cppcheck chromium
)
packages=(
    gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
    gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
    cmake g++ clang libclang-rt-dev cppcheck llvm-19 chromium
)

# Whether there is an llvm-mca that dscompile/report/cycles.py takes.
has_mca() {
    for version in {17..25}; do
        ! command -v "llvm-mca-$version" >/dev/null || return 0
    done
    [[ $(llvm-mca --version 2>/dev/null) =~ LLVM\ version\ (1[7-9]|2[0-9])\. ]]
}

missing() {
    for program in "${programs[@]}"; do
        command -v "$program" >/dev/null || echo "$program"
    done
    # The libraries of clang's sanitizers are a package of their own.
    clang -fsanitize=address,undefined -x c - -o /dev/null <<<'int main(void) { return 0; }' 2>/dev/null ||
        echo libclang-rt
    has_mca || echo llvm-mca-19
}

absent=$(missing | paste -sd ' ')
[ -n "$absent" ] || exit 0

command="apt-get install -y --no-install-recommends ${packages[*]}"
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing what is missing ($absent): $command"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # the command is a list of words
    { apt-get update -qq && $command -qq >/dev/null; } || echo "warning: apt-get failed" >&2
    absent=$(missing | paste -sd ' ')
fi

if [ -n "$absent" ]; then
    echo "not installed: $absent" >&2
    echo "  = help: on Debian and Ubuntu: sudo $command" >&2
    [ -z "${DSCOMPILE_REQUIRE_TOOLS:-}" ] || exit 1
fi
