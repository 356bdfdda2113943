"""Trackers and devices as processes of their own, on free ports of loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Self

from dscompile.farm.address import Address, parse_address

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from dscompile.cli.main import run; run()"]
START_S = 120.0


class Server:
    """A `dscompile farm tracker` or `device`; a context manager that leaves nothing running."""

    def __init__(
        self,
        directory: Path,
        *arguments: object,
        temporary: Path | None = None,
        command: Sequence[str] = COMMAND,
        **environment: str,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.temporary = temporary or directory / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self._log = directory / "stderr"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary), **environment}
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [*command, "farm", *map(str, arguments), "--json"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return self._log.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it by a signal and returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def wait_for(self, text: str, count: int = 1) -> None:
        """Waits until the log has `text` so many times."""
        wait_until(lambda: self.log.count(text) >= count, lambda: f"no {text!r} in {self.log}")

    @cached_property
    def address(self) -> Address:
        """From the JSON object that it writes when it listens."""
        assert self.process.stdout is not None
        lines = ""
        for line in self.process.stdout:
            lines += line
            if line.startswith("}"):
                record = json.loads(lines)
                assert record["schema"] == 1, lines
                return parse_address(record["listens"])
        raise AssertionError(f"it did not start: {lines}{self.log}")


def start_tracker(directory: Path, port: int = 0) -> Server:
    return Server(directory, "tracker", "--port", port)


def start_device(directory: Path, tracker: Address, *options: object, key: str = "x86", **more: Path) -> Server:
    return Server(directory, "device", "--tracker", tracker, "--key", key, "--port", 0, *options, **more)


@contextmanager
def joined(*devices: Server) -> Iterator[tuple[Server, ...]]:
    """Devices, started all at once, when they have joined their tracker."""
    with ExitStack() as stack:
        for device in devices:
            stack.enter_context(device)
        for device in devices:
            device.wait_for("joined the tracker")
            assert device.address
        yield devices


def wait_until(condition: Callable[[], bool], explain: Callable[[], str] = lambda: "it did not come true") -> None:
    """Waits until something is so, as long as it takes on a busy machine."""
    end = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.02)
