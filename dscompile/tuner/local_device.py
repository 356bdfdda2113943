"""Candidates on this machine, in a process of their own (tuner/worker.py)."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO

from dscompile.tuner.devices import Measurement
from dscompile.tuner.runnable import Form, Runnable
from dscompile.tuner.worker import Request

SAMPLE_S = 0.2  # for the samples of a candidate: short ones find no quiet moment on a busy machine
MEMORY_LIMIT_BYTES = 2 << 30  # beside the candidate's own memory
_LATE = b"late"


class LocalDevice:
    """A process that measures candidates, started again when one of them ends it."""

    form: Form = "library"

    def __init__(self, core: int | None = None) -> None:
        """`core`: the processor core that candidates run on; None leaves it to the system."""
        self.name = "this machine"
        self._core = core
        self._count = 0
        self._scratch = tempfile.TemporaryDirectory(prefix="dscompile-")
        self._worker: subprocess.Popen[bytes] | None = None

    def measure(self, candidate: Runnable) -> Measurement:
        """See `Device`."""
        directory = Path(self._scratch.name)
        self._count += 1
        library = directory / f"candidate{self._count}.so"
        try:
            library.write_bytes(candidate.code)
            (directory / "image").write_bytes(candidate.image)
        except OSError as error:
            return Measurement(error=f"cannot write a candidate into '{directory}': {error.strerror}", lost=True)
        request = Request(
            str(directory),
            library.name,
            candidate.memory_bytes,
            candidate.output_offset,
            candidate.output_bytes,
            0.0 if candidate.times_itself else SAMPLE_S,
            MEMORY_LIMIT_BYTES + candidate.memory_bytes,
        )
        worker = self._start()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            worker.stdin.flush()
            line = _line(worker.stdout, candidate.limit_s)
        except BrokenPipeError:
            line = b""
        library.unlink()
        if not line.endswith(b"\n"):
            return Measurement(error=self._end(candidate.limit_s if line is _LATE else None))
        answer = json.loads(line)
        if "error" in answer:
            return Measurement(error=answer["error"], lost=answer.get("lost", False))
        return Measurement(tuple(answer["samples"]), (directory / "output").read_bytes())

    def close(self) -> None:
        """See `Device`."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            self._worker = None
        self._scratch.cleanup()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._worker is None or self._worker.poll() is not None:
            command = [
                sys.executable,
                "-m",
                "dscompile.tuner.worker",
                *([] if self._core is None else [str(self._core)]),
            ]
            self._worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._worker

    def _end(self, late_s: float | None) -> str:
        """Ends the worker, and says how the candidate did it; `late_s`: by taking longer than that."""
        worker, self._worker = self._worker, None
        assert worker is not None
        if late_s is not None:
            worker.kill()
            worker.wait()
            return f"ran longer than {late_s:.0f} s"
        status = worker.wait()
        return f"crashed with {signal.Signals(-status).name}" if status < 0 else f"ended its process with code {status}"


def _line(stream: IO[bytes], seconds: float) -> bytes:
    """The next line, what there is at the end of the stream, or `_LATE`."""
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline() if ready else _LATE
