#!/usr/bin/env bash
# Runs a command beside another one: tools/beside.sh "make lint" pytest -q ...
# Fails if either does. What the first says comes after what the other says; if it fails, also as soon as it ends.
set -uo pipefail

first=$1
shift
said=$(mktemp)
trap 'rm -f "$said"' EXIT

run_first() {
    bash -c "$first" >"$said" 2>&1 || tell_failure $?
}

tell_failure() {
    printf '\nerror: %s failed with code %d:\n' "'$first'" "$1"
    cat "$said"
    return "$1"
}

run_first &
pid=$!
trap 'kill $pid; exit 130' INT TERM

code=0
"$@" || code=$?
failure=0
wait "$pid" || failure=$?
if [ "$failure" -ne 0 ]; then
    tell_failure "$failure"
else
    cat "$said"
fi
exit $((code != 0 ? code : failure))
