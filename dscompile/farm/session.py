"""One session on a device: TVM's server loop in a process of its own, with limits, watched until it ends."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dscompile.farm.endings import Ending, of_signal
from dscompile.farm.limits import Limits, apply_limits, resident_bytes

if TYPE_CHECKING:
    from tvm.runtime import Module

_TICK_S = 0.025  # between two looks at the memory
_EXIT_S = 0.001
_LEAVE_S = 1.0  # for a session whose client has gone, to end by itself
_GONE = "ended because the client had gone"
_SEND_TIMEOUT_S = 2
_NAME_LENGTH = 120
_REPORT_BYTES = 8192
_DONE, _LOAD, _ERROR, _NOTE = "done", "load ", "error ", "note "
_CLIENT_GONE = ("closes before", "Connection reset", "Broken pipe", "SockChannel")


@dataclass(frozen=True)
class Session:
    """What came of it: the names of the files that were loaded, how it ended, after how many seconds."""

    loaded: tuple[str, ...]
    ending: Ending
    elapsed_s: float


def serve(connection: socket.socket, limits: Limits, root: Path, close: Sequence[int]) -> Session:
    """Serves one client until it leaves, its candidate breaks, or a limit is reached; never raises.

    Files go to a new directory in `root`, which is removed afterwards. `close` are file descriptors that the session's
    process must not have. If the session ends in any other way than by its client, the client is told why. The
    connection is closed.
    """
    started = time.monotonic()
    loaded: list[str] = []
    directory = None
    try:
        directory = Path(tempfile.mkdtemp(prefix="session-", dir=root))
        ending = _supervise(connection, limits, directory, close, loaded)
    except OSError as error:
        ending = Ending("refused", f"the device cannot start a session: {error.strerror}")
    if ending.is_told:
        _tell(connection, ending)
    connection.close()
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
    return Session(tuple(loaded), ending, time.monotonic() - started)


def _supervise(
    connection: socket.socket, limits: Limits, directory: Path, close: Sequence[int], loaded: list[str]
) -> Ending:
    """Forks the session's process and watches it to its end. Raises OSError if there can be none."""
    reading, writing = os.pipe()
    parent = os.getpid()
    connection.settimeout(None)  # TVM's loop expects a socket that waits
    try:
        pid = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if pid == 0:
        _child(connection, limits, directory, (*close, reading), writing, parent)
    os.close(writing)
    os.set_blocking(reading, False)
    try:
        return _watch(pid, reading, connection, limits, loaded)
    finally:
        _end(pid)
        os.close(reading)


def _watch(pid: int, reading: int, connection: socket.socket, limits: Limits, loaded: list[str]) -> Ending:
    """Waits until the process has ended or must be ended."""
    end = time.monotonic() + limits.time_s
    allowed = resident_bytes() + limits.memory_bytes  # of this process the session is a copy
    said = b""
    tick_s = _TICK_S
    watched = select.poll()
    watched.register(reading, select.POLLIN)
    watched.register(connection, select.POLLRDHUP)  # what the client sends is for the session alone
    ending = Ending("hang", f"took longer than its time limit of {limits.time_s:g} s")
    while True:
        for descriptor, _ in watched.poll(tick_s * 1000):
            if descriptor == reading:
                part = os.read(reading, _REPORT_BYTES)
                said = (said + part)[: 8 * _REPORT_BYTES]  # a candidate may write there, too
                if not part:  # the process is about to end
                    watched.unregister(reading)
                    tick_s = _EXIT_S
            else:
                watched.unregister(connection)
                ending, end = Ending("left", _GONE), min(end, time.monotonic() + _LEAVE_S)
        status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        lines = (said + _rest(reading) if status else said).decode("utf-8", "replace").splitlines()
        loaded[:] = [line.removeprefix(_LOAD) for line in lines if line.startswith(_LOAD)]
        if status is not None:
            return _ending(status, lines)
        if time.monotonic() > end:
            return ending
        if resident_bytes(pid) > allowed:
            return Ending("memory", f"took more than its memory limit of {limits.memory_bytes >> 20} MiB")


def _ending(status: os.waitid_result, lines: Sequence[str]) -> Ending:
    if status.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
        return of_signal(status.si_status)
    if _DONE in lines:
        notes = [line.removeprefix(_NOTE) for line in lines if line.startswith(_NOTE)]
        return Ending("ended", "; ".join([*notes, "ended"]))
    error = next((line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)), None)
    if error is None:
        return Ending("crash", f"ended the session's process with exit code {status.si_status}")
    if "bad_alloc" in error or "MemoryError" in error or "length_error" in error:
        return Ending("memory", "took more than its memory limit, or its client sent a message of impossible size")
    if any(word in error for word in _CLIENT_GONE):
        return Ending("left", _GONE)
    return Ending("refused", f"did not understand the client: {error}")


def _rest(reading: int) -> bytes:
    """What an ended process has left in its pipe."""
    with suppress(BlockingIOError):
        return os.read(reading, _REPORT_BYTES)
    return b""


def _end(pid: int) -> None:
    """Ends the process and whatever it has started, if they still run, and forgets them."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # it may not have its process group yet
    os.waitpid(pid, 0)


def _tell(connection: socket.socket, ending: Ending) -> None:
    """Sends the reason to a client that waits for an answer, without waiting for it."""
    from tvm.rpc import _ffi_api

    with suppress(Exception):  # the client may have gone as well
        seconds = struct.pack("ll", _SEND_TIMEOUT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        _ffi_api.ReturnException(connection.fileno(), ending.encode())


def _child(
    connection: socket.socket, limits: Limits, directory: Path, close: Sequence[int], report: int, parent: int
) -> NoReturn:
    """The session's process: TVM's server loop; never returns."""
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for descriptor in close:
            os.close(descriptor)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.chdir(directory)
        apply_limits(limits, parent)
        _register(directory, report)
        _loop(connection)
        _say(report, _DONE)
        status = 0
    except BaseException as error:
        _say(report, f"{_ERROR}{type(error).__name__}: {str(error).strip()}")
    finally:
        os._exit(status)


def _loop(connection: socket.socket) -> None:
    """TVM's server loop. A function that fails without an error is given one, which is not left from an import."""
    from tvm.rpc import _ffi_api
    from tvm_ffi.libinfo import find_libtvm_ffi

    library = ctypes.CDLL(find_libtvm_ffi())
    library.TVMFFIErrorSetRaisedFromCStr(b"RuntimeError", b"a function returned an error without a message")
    _ffi_api.ServerLoop(connection.fileno())


def _register(directory: Path, report: int) -> None:
    """Gives TVM's server loop its functions for files: in `directory`, and with errors that say what is wrong."""
    import tvm_ffi
    from tvm.runtime import load_module

    def place(name: str) -> str:
        return str(directory / Path(name).name)

    def upload(name: str, content: bytes) -> None:
        try:
            with open(place(name), "wb") as file:
                file.write(content)
        except OSError as error:
            text = f"the device cannot store '{Path(name).name}', {len(content)} B: {error.strerror}"
            _say(report, f"{_NOTE}{text}")
            raise RuntimeError(Ending("refused", text).encode()) from error

    def load(name: str) -> object:
        _say(report, f"{_LOAD}{Path(name).name[:_NAME_LENGTH]}")
        return load_module(place(name))

    def find(module: Module, name: str, query_imports: bool) -> object:
        return module.get_function(name, query_imports)  # TVM's own gives out null, and calling it crashes

    functions = {"workpath": place, "upload": upload, "load_module": load, "ModuleGetFunction": find}
    for name, function in functions.items():
        tvm_ffi.register_global_func(f"tvm.rpc.server.{name}", function, override=True)


def _say(report: int, text: str) -> None:
    line = " ".join(text.split())[: _REPORT_BYTES // 2]
    with suppress(OSError):
        os.write(report, f"{line}\n".encode("utf-8", "replace"))
