"""Runs damaged inputs in a process of its own, under limits of time and memory, and says what they should not do.

An input may give a result or a DscompileError with a documented exit code. Anything else is a finding: a bug's exit
code, another exception, more than TIME_S or MEMORY_BYTES, the end of the process, a file made outside of the input's
directory, another program started, a pickle loaded, code compiled from text.
"""

from __future__ import annotations

import contextlib
import gc
import io
import mmap
import os
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.kinds import Kind
from tests.fuzz.samples import Sample

TIME_S = 10
_TOO_LONG = f"it takes more than {TIME_S} s"
MEMORY_BYTES = 1 << 30
CODES = frozenset({0, 1, 2, 3, 4})  # 5 says that a tool is missing or the disk refuses, which no input may bring about
_BATCH = 1000  # inputs of one process, so that what one leaves behind does not count against many
_GRACE_S = 20  # the process of an input that does not come back to the interpreter is ended after this, if it computes
_ASLEEP_S = 300  # and after this in any case: on a machine with much else to do, seconds of its time may take minutes
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {"os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.chmod": 1, "os.symlink": 2, "os.link": 2}
_PATHS |= {"os.truncate": 1, "shutil.rmtree": 1, "shutil.move": 2, "shutil.copyfile": 2}
_NEVER = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class"}
_NEVER |= {"socket.connect", "socket.bind", "marshal.loads", "code.__new__"}
_CPP = (".cc", ".h", "<unknown>")  # places in TVM's C++, which a traceback shows as if they were Python's
_IMPORTERS = ("_find_and_load", "exec_module", "get_code", "_compile_bytecode")


@dataclass(frozen=True)
class Finding:
    """What went wrong with the input of a seed. Findings of one `cause` are one finding."""

    seed: int
    cause: str
    text: str


class _TooLongError(BaseException):
    """An input took more than TIME_S."""


class _Auditor:
    """Notes what an input does to the outside of its directory while it is `active`."""

    def __init__(self, root: Path) -> None:
        self.active, self.found, self.root = False, [], f"{root.resolve()}/"

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
            self._inside(event, arguments[0])
        elif event in _PATHS:
            for path in arguments[: _PATHS[event]]:
                self._inside(event, path)
        elif event == "code.__new__" and str(arguments[1]).endswith(_CPP):
            return
        elif event in _NEVER and not _is_importing() and not _is_tool(event):
            self.found.append(f"{event} {arguments[:2]!r:.200}")
        elif event == "exec" and _is_from_text(arguments[0]) and not _is_importing():
            self.found.append(f"code was run: {arguments[0]!r:.200}")

    def _inside(self, event: str, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            name = os.path.realpath(os.fsdecode(path))
            if not f"{name}/".startswith(self.root) and name != os.devnull:
                self.found.append(f"{event} of {name}")


def _is_from_text(code: object) -> bool:
    name = getattr(code, "co_filename", "")
    return name.startswith("<") and not name.endswith(_CPP)


def _is_tool(event: str) -> bool:
    """Whether it is the compiler that a build runs on C that it made."""
    frames = traceback.extract_stack() if event == "subprocess.Popen" else ()
    return any(frame.filename.endswith("/dscompile/toolchain.py") for frame in frames)


def _is_importing() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name in _IMPORTERS:
            return True
        frame = frame.f_back
    return False


def run_all(kind: Kind, seeds: Sequence[int]) -> tuple[Counter[int], Iterator[Finding]]:
    """Exit codes so far, and findings as they come; both go on until all seeds were run."""
    codes: Counter[int] = Counter()
    kind.samples(), kind.damages()  # made once, before processes are
    return codes, _run_all(kind, list(seeds), codes)


def _run_all(kind: Kind, seeds: list[int], codes: Counter[int]) -> Iterator[Finding]:
    while seeds:
        batch, seeds = seeds[:_BATCH], seeds[_BATCH:]
        while batch:
            done, found = yield from _run_batch(kind, batch, codes)
            batch = batch[done:]
            if found is not None:
                yield found


def _run_batch(kind: Kind, batch: list[int], codes: Counter[int]) -> Iterator[Finding]:
    """Runs inputs in one process; how many it did, and what it died of."""
    place = mmap.mmap(-1, 8)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _child(kind, batch, place, writer)
            os._exit(0)
        except BaseException:  # of this tool itself
            traceback.print_exc()
        finally:
            os._exit(3)
    os.close(writer)
    try:
        text, stuck = _listen(child, reader, place)
    finally:
        os.close(reader)
    _, status = os.waitpid(child, 0)
    for line in text.split("\x1e"):
        if not line:
            continue
        seed, rest = line.split("\x1f", 1)
        if rest.startswith("\x1f"):
            codes[int(rest[1:])] += 1
        else:
            cause, words = rest.split("\x1f", 1)
            yield Finding(int(seed), cause, words)
    done = struct.unpack("<q", place[:8])[0]
    if status == 0:
        return len(batch), None
    ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
    cause = "it hangs, out of the interpreter's reach" if stuck else f"the process ended: {ended}"
    return done + 1, Finding(batch[done], cause, cause)


def _listen(child: int, reader: int, place: mmap.mmap) -> tuple[str, bool]:
    """All that the process says until it ends, and whether it had to be ended."""
    import select

    parts: list[bytes] = []
    last, stuck = -1, False
    since, worked = time.monotonic(), 0.0
    while True:
        if select.select([reader], [], [], 1.0)[0]:
            data = os.read(reader, 1 << 16)
            if not data:
                return b"".join(parts).decode(errors="replace"), stuck
            parts.append(data)
        now = struct.unpack("<q", place[:8])[0]
        if now != last:
            last, since, worked = now, time.monotonic(), _cpu_s(child)
            continue
        waited, limit = time.monotonic() - since, _GRACE_S + TIME_S
        if waited > _ASLEEP_S or (waited > limit and _cpu_s(child) - worked > TIME_S):
            os.kill(child, signal.SIGKILL)
            stuck, since = True, time.monotonic()


def _cpu_s(process: int) -> float:
    """What a process has computed, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _child(kind: Kind, batch: list[int], place: mmap.mmap, writer: int) -> None:
    """Runs the inputs one after another and tells their exit codes and findings."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        root = Path(name)
        auditor = _limits(root)
        for index, seed in enumerate(batch):
            place[:8] = struct.pack("<q", index)
            found, code = judged(kind, kind.sample(seed), root / "input", auditor)
            word = f"{found[0]}\x1f{found[1]}" if found else f"\x1f{code}"
            os.write(writer, f"{seed}\x1f{word}\x1e".encode(errors="replace"))


def _limits(root: Path) -> _Auditor:
    """Warms up, then limits memory: what is imported once does not count."""
    tempfile.tempdir = str(root)
    sys.dont_write_bytecode = True  # what an import writes is no input's doing
    warnings.simplefilter("ignore")
    auditor = _Auditor(root)
    sys.addaudithook(auditor)
    signal.signal(signal.SIGALRM, _too_long)
    os.chdir(root)
    return auditor


def _too_long(*_: object) -> None:
    raise _TooLongError


def judged(kind: Kind, sample: Sample, folder: Path, auditor: _Auditor) -> tuple[tuple[str, str] | None, int]:
    """Cause and words of what a sample should not have done, if anything; and its exit code.

    What took too long is tried once more: the machine may have stood still.
    """
    found, code = _judged_once(kind, sample, folder, auditor)
    if found and found[0].startswith(_TOO_LONG):
        found, code = _judged_once(kind, sample, folder, auditor)
    return found, code


def _judged_once(kind: Kind, sample: Sample, folder: Path, auditor: _Auditor) -> tuple[tuple[str, str] | None, int]:
    shutil.rmtree(folder, ignore_errors=True)
    path = sample.write(folder)
    soft = resource.getrlimit(resource.RLIMIT_AS)
    told = io.StringIO()
    auditor.found = []
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
            gc.collect(0)
            resource.setrlimit(resource.RLIMIT_AS, (_virtual_bytes() + MEMORY_BYTES, soft[1]))
            signal.setitimer(signal.ITIMER_REAL, TIME_S)
            auditor.active = True
            try:
                code = kind.read(path)
            finally:
                auditor.active = False
                signal.setitimer(signal.ITIMER_REAL, 0)
                resource.setrlimit(resource.RLIMIT_AS, soft)
    except _TooLongError as error:
        return (f"{_TOO_LONG} in {_place(error)}", _trace(error)), -1
    except BaseException as error:
        return (f"{type(error).__name__} in {_place(error)}", _trace(error)), -1
    if auditor.found:
        return (f"outside: {auditor.found[0].split(' ')[0]}", "\n".join(auditor.found)), code
    if code not in CODES:
        return (f"exit code {code}: {_told_place(told.getvalue())}", told.getvalue()), code
    return None, code


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _place(error: BaseException) -> str:
    """The innermost line of the product."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/dscompile/" in frame.filename]
    own = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{own.filename.rpartition('/dscompile/')[2]}:{own.lineno}"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-6000:]


def _told_place(text: str) -> str:
    """As `_place`, from a traceback that a command printed: its last line, and what was raised."""
    places = re.findall(r'File "[^"]*/dscompile/([^"]+)", line (\d+)', text)
    raised = re.findall(r"^(\w+(?:\.\w+)*(?:Error|Exception|Interrupt|Warning)?)(?::|$)", text, re.MULTILINE)
    places = [place for place in places if not place[0].startswith("cli/main")]
    where = ":".join(places[-1]) if places else text[-200:]
    return f"{raised[-1] if raised else ''} in {where}"
