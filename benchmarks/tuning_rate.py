"""How fast the tuner is: candidates built, checked and measured in a second, and how busy the device is kept.

    python benchmarks/tuning_rate.py [--seconds 60] [--json FILE]

Tunes small layers of a zoo network from nothing on this machine. The exit code is 1 below 3 candidates a second, or if
the device is busy for less than 70 % of the time; both are what two free cores give.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import dscompile
from dscompile.api import zoo_write

LEAST_PER_S, LEAST_BUSY = 3.0, 0.7
NETWORK = "ds_cnn"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        net = zoo_write(NETWORK, scratch)
        result = dscompile.tune(net, output=Path(scratch) / "tuning.json", trials=1000, budget_s=options.seconds)
    per_s = result.measured / result.elapsed_s
    failures = sum(task.failures for task in result.outcome.tasks)
    print(f"{result.measured} candidates in {result.elapsed_s:.0f} s: {per_s:.2f} a second, {failures} failed")
    print(f"the device was busy for {result.busy_share:.0%} of the time")
    if options.json:
        record = {"candidates_per_s": per_s, "busy_share": result.busy_share, "failures": failures}
        options.json.write_text(json.dumps(record) + "\n")
    return 0 if per_s >= LEAST_PER_S and result.busy_share >= LEAST_BUSY and not failures else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
