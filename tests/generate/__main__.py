"""python -m tests.generate: random networks beside the oracle; failing ones are made small and written down."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dscompile.frontend.writer import write_netfile
from dscompile.ir.network import Network
from tests.generate.cases import Case, make_case
from tests.generate.minimize import MOST_TRIALS, minimized
from tests.generate.ways import Verdict, Way, ways_of

WAYS = ("c99", "x86")


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 if all networks agree with the oracle, 1 if some do not."""
    options = _parser().parse_args(arguments)
    started, failed, counts = time.monotonic(), 0, Counter[str]()
    seeds = options.seeds or range(options.seed, options.seed + options.count)
    for index, seed in enumerate(seeds):
        case = make_case(seed)
        counts[case.maker] += 1
        names = tuple(name for name in options.ways if name != "x86" or seed % options.x86_every == 0)
        for way in ways_of(case, names):
            counts[way.name.split(" ")[0]] += 1
            verdict = way.verdict(case.network)
            if verdict is not None:
                failed += 1
                print(f"seed {seed} ({case.maker}), {way.name}: {verdict.text}", flush=True)
                report_failure(case, way, verdict, options.output, options.trials)
        if (index + 1) % 100 == 0:
            print(f"{index + 1} networks, {failed} failures, {time.monotonic() - started:.0f} s", flush=True)
    print(f"{len(seeds)} networks, {failed} failures; " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if failed else 0


def report_failure(case: Case, way: Way, verdict: Verdict, output: Path, trials: int = MOST_TRIALS) -> Network:
    """Makes a failing network small, writes it into `output`/<seed>-<way> and returns it."""

    def fails(network: Network) -> bool:
        found = way.verdict(network)
        return found is not None and found.kind == verdict.kind

    small = minimized(case.network, fails, trials)
    found = way.verdict(small)
    folder = output / f"{case.seed}-{way.name.split(' ')[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    path = write_netfile(small, folder)
    (folder / "failure.txt").write_text(
        f"seed {case.seed} ({case.maker}), {way.name}\n"
        f"as generated: {verdict.text}\n"
        f"in net.yaml:  {found.text if found is not None else 'it does not fail every time'}\n"
        f"again: python -m tests.generate --count 1 --seed {case.seed} --ways {way.name.split(' ')[0].split('-')[0]}\n"
    )
    print(f"  {len(case.network.layers)} layers -> {len(small.layers)}: {path}", flush=True)
    return small


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.generate", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="networks (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="that of the first network")
    parser.add_argument("--seeds", type=_numbers, help="those of all networks, such as 3,5,8, in place of these two")
    parser.add_argument("--ways", type=_ways, default=WAYS, help="how they are built: c99,x86 (default: both)")
    parser.add_argument(
        "--x86-every", type=int, default=1, metavar="N", help="x86 for seeds that N divides (default: all)"
    )
    parser.add_argument("--trials", type=int, default=MOST_TRIALS, help="builds for making a failing network small")
    parser.add_argument("--output", type=Path, default=Path("build/failing-networks"), help="where failing networks go")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _ways(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in WAYS:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(WAYS)}")
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
