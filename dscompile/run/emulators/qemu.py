"""QEMU's system emulation: a whole board, steered through its GDB server, counted by a plugin of our own."""

from __future__ import annotations

import mmap
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dscompile.errors import ToolError
from dscompile.firmware.image import Image
from dscompile.firmware.toolchains import require_board
from dscompile.run.emulators.counting import Counters, helper_library, plugin_api
from dscompile.run.emulators.gdb import ConnectionLost, GdbConnection
from dscompile.run.emulators.machine import Machine
from dscompile.target import Target

_START_TIMEOUT_S = 30.0
_RUN_TIMEOUT_S = 1800.0  # the limit of instructions ends a run long before
_DEBIAN_PACKAGES = {"qemu-system-riscv32": "qemu-system-misc", "qemu-system-riscv64": "qemu-system-misc"}


class QemuMachine(Machine):
    """A program booted on a board of QEMU, in a process of its own."""

    def __init__(self, image: Image, target: Target) -> None:
        """Starts QEMU and boots. Raises ToolError if QEMU or a C compiler is missing, or the board does not start."""
        board = require_board(target).qemu
        if board is None:
            raise ToolError(f"QEMU has no board for target {target.name}", help="run it under unicorn")
        _require(board.program)
        plugin = helper_library("qemu_counting", (f"-DPLUGIN_API={plugin_api(board.program)}",))
        self._directory = tempfile.TemporaryDirectory(prefix="dscompile-")
        scratch = Path(self._directory.name)
        shared = scratch / "counters"
        counters = Counters()
        shared.write_bytes(bytes(counters))
        with shared.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        super().__init__(image, Counters.from_buffer(self._map))
        self._log = (scratch / "log").open("w+b")
        command = [board.program, "-M", board.machine, *board.options, "-display", "none", "-monitor", "none"]
        command += ["-serial", "none", "-S", "-gdb", f"unix:{scratch / 'gdb'},server=on,wait=off"]
        command += ["-chardev", f"file,id=printed,path={scratch / 'printed'}"]
        command += ["-semihosting-config", "enable=on,target=native,chardev=printed"]
        command += ["-plugin", f"{plugin},counters={shared}", "-kernel", str(image.path)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT)
        self._printed, self._taken = scratch / "printed", 0
        self._stop = image.symbol("firmware_stop").address
        try:
            self._gdb = GdbConnection(self._connect(scratch / "gdb"), _RUN_TIMEOUT_S)
            self._gdb.set_breakpoint(self._stop)
            self._gdb.proceed()
        except (ConnectionLost, ValueError) as error:
            message = self._ended(f"QEMU's board {board.machine} did not start: {error}")
            self.close()
            raise ToolError(message) from error

    def close(self) -> None:
        """Ends QEMU."""
        if hasattr(self, "_gdb"):
            self._gdb.close()
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._directory.cleanup()

    def write(self, address: int, content: bytes) -> None:
        """Puts bytes into memory."""
        with self._conversation():
            self._gdb.write(address, content)

    def read(self, address: int, size: int) -> bytes:
        """Takes bytes out of memory."""
        with self._conversation():
            return self._gdb.read(address, size)

    def proceed(self) -> None:
        """Runs on to the next stop. Raises FirmwareFault, or ToolError if QEMU dies."""
        with self._conversation():
            # A machine that goes on from a breakpoint would stop there again at once.
            self._gdb.clear_breakpoint(self._stop)
            self._gdb.step()
            self._gdb.set_breakpoint(self._stop)
            self._gdb.proceed()

    @contextmanager
    def _conversation(self) -> Iterator[None]:
        """Says why QEMU no longer answers: the limit was exceeded, or it died."""
        try:
            yield
        except ConnectionLost as error:
            if self.counters.expired:
                raise self.expire() from error
            where = self.image.nearest(self.counters.last)
            raise ToolError(
                self._ended(f"QEMU ended while the program was in {where}"),
                help="run it in unicorn, which may say more",
            ) from error

    def take_printed(self) -> str:
        """What the program printed since this was last asked."""
        content = self._printed.read_bytes()
        new, self._taken = content[self._taken :], len(content)
        return new.decode("utf-8", "replace")

    def _connect(self, path: Path) -> socket.socket:
        """A connection to QEMU's GDB server, as soon as it is there."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
            except OSError:
                connection.close()
                time.sleep(0.01)
            else:
                return connection
        raise ConnectionLost("it does not answer")

    def _ended(self, what: str) -> str:
        self._process.kill()
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()[:8]
        return "".join((what, *(f"\n    {line}" for line in lines)))


def _require(program: str) -> None:
    """Raises ToolError if QEMU is not installed."""
    if shutil.which(program) is None:
        raise ToolError(
            f"{program} is not installed",
            help=f"on Debian and Ubuntu: apt install {_DEBIAN_PACKAGES.get(program, program)}; "
            "or pip install 'dscompile[emulate]' (unicorn)",
        )
