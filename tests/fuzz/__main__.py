"""python -m tests.fuzz: damaged inputs of a kind; what fails is kept and made small."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.minimize import minimized
from tests.fuzz.samples import Sample
from tests.fuzz.watch import Finding, run_all


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 if every input gave a result or an error of the product's, 1 if some did not."""
    options = _parser().parse_args(arguments)
    failed = 0
    for name in options.kind:
        failed += _fuzz(KINDS[name], options)
    return 1 if failed else 0


def _fuzz(kind: Kind, options: argparse.Namespace) -> int:
    started, causes = time.monotonic(), dict[str, int]()
    codes, findings = run_all(kind, range(options.seed, options.seed + options.count))
    for finding in findings:
        causes[finding.cause] = causes.get(finding.cause, 0) + 1
        if causes[finding.cause] == 1:
            print(f"{kind.name}, seed {finding.seed}: {finding.cause}", flush=True)
            keep(kind, finding, options.output, options.trials)
    failed = sum(causes.values())
    told = ", ".join(f"exit code {code}: {count}" for code, count in sorted(codes.items()))
    seconds = time.monotonic() - started
    print(f"{kind.name}: {options.count} inputs in {seconds:.0f} s; {told}; {failed} failures", flush=True)
    for cause, count in causes.items():
        print(f"  {count} times: {cause}", flush=True)
    return failed


def keep(kind: Kind, finding: Finding, output: Path, trials: int) -> Sample:
    """Writes the input of a finding into `output`/<kind>-<seed>, made small, and what it did."""
    sample = kind.sample(finding.seed)

    def fails(smaller: Sample) -> bool:
        once = replace(kind, samples=lambda: (smaller,), damages=lambda: (lambda _rng, same: same,))
        return any(found.cause == finding.cause for found in run_all(once, [0])[1])

    small = minimized(sample, fails, trials)
    folder = output / f"{kind.name}-{finding.seed}"
    small.write(folder)
    (folder / "as-damaged").write_bytes(sample.data)
    (folder / "failure.txt").write_text(
        f"{finding.cause}\nagain: python -m tests.fuzz --kind {kind.name} --seed {finding.seed} --count 1\n\n"
        f"{finding.text}\n"
    )
    print(f"  {len(sample.data)} B -> {len(small.data)} B: {folder / small.name}", flush=True)
    return small


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kind", type=_kinds, default=tuple(KINDS), help=f"of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="that of the first input")
    parser.add_argument("--count", type=int, default=1000, help="inputs of each kind (default: 1000)")
    parser.add_argument("--trials", type=int, default=200, help="runs for making a failing input small")
    parser.add_argument("--output", type=Path, default=Path("build/failing-inputs"), help="where failing inputs go")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(KINDS)}")
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
