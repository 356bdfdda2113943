"""python -m tests.crash: commands that are killed, or that the disk refuses; exit code 1 if a trial finds something."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.crash.commands import COMMANDS, names
from tests.crash.trials import FAULTS, Outcome, Trials, run_all


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 if after every trial the old or the new result was there, whole, and the next run worked."""
    options = _parser().parse_args(arguments)
    found = 0
    for name in options.command:
        with tempfile.TemporaryDirectory(prefix="crash-") as folder:
            found += _try(name, Path(folder), options)
    return 1 if found else 0


def _try(name: str, folder: Path, options: argparse.Namespace) -> int:
    began, endings = time.monotonic(), Counter[str]()
    trials = Trials(COMMANDS[name], folder / name)

    def see(seed: int, outcome: Outcome) -> None:
        endings[outcome.ended] += 1
        if outcome.found or options.verbose:
            print(f"{name}, seed {seed}, {outcome.done}: {outcome.ended}; {outcome.found or 'well'}", flush=True)

    seeds = range(options.seed, options.seed + options.count)
    found = run_all(trials, seeds, options.fault, see)
    told = ", ".join(f"{ending}: {count}" for ending, count in sorted(endings.items()))
    seconds = time.monotonic() - began
    print(f"{name}, {options.fault}: {options.count} trials in {seconds:.0f} s; {told}; {found} findings", flush=True)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.crash", description=__doc__)
    parser.add_argument("--command", type=_names, default=tuple(COMMANDS), help=f"of {', '.join(COMMANDS)}; all")
    parser.add_argument("--fault", choices=FAULTS, default="kill", help="kill -9, short files, or a full disk (kill)")
    parser.add_argument("--seed", type=int, default=0, help="that of the first trial")
    parser.add_argument("--count", type=int, default=100, help="trials of each command (default: 100)")
    parser.add_argument("-v", "--verbose", action="store_true", help="say how every trial ended")
    return parser


def _names(text: str) -> Sequence[str]:
    try:
        return names(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
