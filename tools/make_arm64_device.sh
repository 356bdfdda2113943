#!/bin/sh
# Makes a directory in which `dscompile farm device` runs as on an arm64 board, under qemu-aarch64:
#     tools/make_arm64_device.sh [DIR]          default: ~/.cache/dscompile/arm64-device
# Debian's Python for arm64 goes to DIR/root, the wheels for arm64 to DIR/site: 500 MB. Nothing of this machine is changed, and
# root is not needed. On Debian 12; tests/farm/test_arm64.py uses it, docs/farm.md shows how to run it by hand.
set -eu

directory=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/dscompile/arm64-device}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/debs"
: >"$scratch/status"

packages="libc6 libgcc-s1 libstdc++6 zlib1g libffi8 libssl3 libbz2-1.0 liblzma5 libexpat1 libsqlite3-0 libuuid1 libcrypt1
    python3.11-minimal libpython3.11-minimal libpython3.11-stdlib"
arm_apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$scratch" \
        -o Dir::State::status="$scratch/status" -o Dir::State::lists="$scratch/lists" -o Dir::Cache="$scratch/cache" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}
arm_apt update
# shellcheck disable=SC2086  # a list of words
(cd "$scratch/debs" && arm_apt download $packages)
rm -rf "$directory"
mkdir -p "$directory/root"
for package in "$scratch"/debs/*.deb; do
    dpkg-deb -x "$package" "$directory/root"
done

project=$(dirname "$0")/..
requirements=$(python3 - "$project/pyproject.toml" <<'PYTHON'
import sys
import tomllib

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = [line for line in project["optional-dependencies"]["tune"] if not line.startswith("xgboost")]  # the server's
print(" ".join(line.replace(" ", "") for line in project["dependencies"] + extras))
PYTHON
)
# shellcheck disable=SC2086
python3 -m pip install --quiet --target "$directory/site" --python-version 3.11 --only-binary=:all: \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 $requirements
echo "$directory"
