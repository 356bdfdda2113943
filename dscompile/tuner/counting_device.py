"""64-bit Arm in QEMU as a device: what is measured are executed instructions, the same number each time."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from pathlib import Path

from dscompile.errors import ToolError
from dscompile.run.emulators.qemu_user import require_qemu, run_counted
from dscompile.tuner.devices import Measurement
from dscompile.tuner.runnable import Form, Runnable

_SLOWER = 5  # how much longer than on a device a candidate may take


class CountingDevice:
    """Runs candidates in qemu-aarch64 and counts the instructions of their kernels."""

    form: Form = "program"

    def __init__(self) -> None:
        """Raises ToolError without qemu-aarch64."""
        require_qemu()
        self.name = "qemu-aarch64"
        self._scratch = tempfile.TemporaryDirectory(prefix="dscompile-")

    def measure(self, candidate: Runnable) -> Measurement:
        """See `Device`."""
        program = Path(self._scratch.name) / "candidate"
        limit_s = _SLOWER * candidate.limit_s
        try:
            program.write_bytes(candidate.code)
            program.chmod(0o700)
            run = run_counted(program, stdin=candidate.image, timeout_s=limit_s)
        except subprocess.TimeoutExpired:
            return Measurement(error=f"ran longer than {limit_s:.0f} s")
        except OSError as error:
            return Measurement(error=f"cannot be measured: {error.strerror or error}", lost=True)
        except ToolError as error:
            return Measurement(error=str(error))
        if run.status:
            ending = (
                f"crashed with {signal.Signals(-run.status).name}" if run.status < 0 else f"ended with {run.status}"
            )
            return Measurement(error=ending)
        executed = sum(run.counts[symbol].total for symbol in candidate.timed if symbol in run.counts)
        return Measurement((float(executed),), run.stdout)

    def close(self) -> None:
        """See `Device`."""
        self._scratch.cleanup()
