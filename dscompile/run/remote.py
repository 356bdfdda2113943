"""Running library artifacts on another machine: static programs, copied and started through the system's OpenSSH."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dscompile.artifact import Artifact
from dscompile.errors import ToolError, UsageError
from dscompile.run.program import Executed, ProgramModel
from dscompile.target import Target

_TIMEOUT_S = 600.0
_SSH_FAILED = 255  # ssh(1): "255 if an error occurred"
_NOT_EXECUTABLE = 126  # sh(1p), "Exit Status for Commands"
_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ClearAllForwardings=yes", "-T")
_URL = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][\w.-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d+))?/?"
)
_DIRECTORY = re.compile(r"/[\w./+-]*dscompile-[\w]+")
_MACHINES = {"x86": ("x86_64", "amd64"), "arm64": ("aarch64", "arm64")}
_MARK = "dscompile-board"  # in front of our own lines: a login may print a greeting
_ASK = "\n".join(
    (
        f'dir=$(mktemp -d "${{TMPDIR:-/tmp}}/dscompile-XXXXXXXXXX") && chmod 700 "$dir" && echo "{_MARK} dir $dir"',
        f'echo "{_MARK} machine $(uname -m)"',
        f'echo "{_MARK} features $(grep -E -m 1 "^(Features|flags)" /proc/cpuinfo | cut -d : -f 2)"',
    )
)
_ADVICE = (
    ("host key verification failed", "connect once by hand with 'ssh {host}' and accept its key"),
    ("permission denied", "passwords are not asked for; let a key in: ssh-copy-id {host}"),
    ("could not resolve", "check the name of the host"),
    ("refused", "check that its SSH server runs, and the port"),
    ("timed out", "check that the host is on and can be reached"),
)


@dataclass(frozen=True)
class Address:
    """Where to connect to: `ssh://[user@]host[:port]`."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def destination(self) -> str:
        """As ssh takes it."""
        return f"{self.user}@{self.host}" if self.user else self.host


def parse_address(text: str) -> Address:
    """The address in `ssh://[user@]host[:port]`. Raises UsageError for anything else."""
    match = _URL.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text}' is no runner", help="write ssh://host, ssh://user@host or ssh://user@host:2222")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 1 <= port <= 65535:
        raise UsageError(f"'{text}': a port is a number from 1 to 65535")
    return Address(match["host"].strip("[]"), match["user"], port)


class Board:
    """A machine behind SSH, with a directory of its own for us (mode 0700), which `close` removes.

    A context manager. The directory is also removed when the object or the process ends, as far as the machine can be
    reached then.
    """

    def __init__(self, address: Address, target: Target) -> None:
        """Connects and looks at the machine.

        Raises ToolError (exit 5) if ssh is missing or fails, or the machine does not run programs of `target`.
        """
        if shutil.which("ssh") is None:
            raise ToolError("ssh is not installed", help="on Debian and Ubuntu: apt install openssh-client")
        self.address = address
        self.name = f"ssh://{address.destination}" + (f":{address.port}" if address.port else "")
        self._copied: dict[Path, str] = {}
        said = self._shell(_ASK, task="looking at the machine")
        lines = dict(re.findall(rf"^{_MARK} (\w+) ?(.*)$", said.stdout.decode("utf-8", "replace"), re.MULTILINE))
        directory = lines.get("dir", "")
        if not _DIRECTORY.fullmatch(directory):
            raise ToolError(f"{self.name} made no directory for us{_said(said)}")
        self.directory = directory
        self._finalizer = weakref.finalize(self, _remove, self._command(f"rm -rf -- {shlex.quote(directory)}"))
        try:
            self._require(target, lines.get("machine", ""), frozenset(lines.get("features", "").split()))
        except ToolError:
            self._finalizer()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Removes the directory. Nothing can be run afterwards."""
        self._finalizer()

    def execute(self, program: Path, arguments: Sequence[str] = (), stdin: bytes = b"") -> Executed:
        """Runs a program to its end; it is copied there first unless it was before."""
        if program not in self._copied:
            self._copied[program] = self._copy(program)
        command = " ".join(map(shlex.quote, (self._copied[program], *arguments)))
        done = self._shell(command, stdin, f"running {program.name}")
        if done.status == _NOT_EXECUTABLE:
            raise ToolError(
                f"{self.name} does not run programs in {self.directory}{_said(done)}",
                help="its TMPDIR must allow that (not be mounted noexec)",
            )
        return Executed(128 - done.status if done.status > 128 else done.status, done.stdout, done.stderr)

    def _copy(self, program: Path) -> str:
        """Puts a program into the directory; through ssh alone, since small systems have no scp or SFTP server."""
        place = f"{self.directory}/{program.name}-{secrets.token_hex(4)}"
        quoted = shlex.quote(place)
        done = self._shell(f"cat >{quoted} && chmod 700 {quoted}", program.read_bytes(), f"copying {program.name}")
        if done.status != 0:
            raise ToolError(f"copying {program.name} to {self.name} failed{_said(done)}")
        return place

    def _require(self, target: Target, machine: str, features: frozenset[str]) -> None:
        if machine.lower() not in _MACHINES.get(target.family, ()):
            raise ToolError(
                f"{self.name} is a machine of type '{machine}', the artifact is built for {target.name}",
                help="build for a target of that machine",
            )
        missing = target.features - features
        if features and missing:
            raise ToolError(
                f"{self.name} lacks {', '.join(sorted(missing))}, which {target.name} needs",
                help=f"build with --target {target.family}, which has variants for machines with less",
            )

    def _command(self, command: str) -> list[str]:
        port = ["-p", str(self.address.port)] if self.address.port is not None else []
        return ["ssh", *_OPTIONS, *port, "--", self.address.destination, command]

    def _shell(self, command: str, stdin: bytes = b"", task: str = "") -> Executed:
        """Runs a command of the machine's shell. Raises ToolError if there is no connection.

        The shell stays until the command has ended: if a signal ends what ssh itself started, ssh only says 255.
        """
        try:
            done = subprocess.run(
                self._command(f"{command}; exit $?"), input=stdin, capture_output=True, check=False, timeout=_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{task} on {self.name} did not end in {_TIMEOUT_S:g} s") from error
        result = Executed(done.returncode, done.stdout, done.stderr)
        if done.returncode == _SSH_FAILED:
            complaint = done.stderr.decode("utf-8", "replace")
            host = self.address.destination
            advice = next((text.format(host=host) for mark, text in _ADVICE if mark in complaint.lower()), None)
            raise ToolError(f"{task} on {self.name} failed: ssh gave up{_said(result)}", help=advice)
        return result


class RemoteModel(ProgramModel):
    """An artifact on another machine."""

    def __init__(self, artifact: Artifact, board: Board) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="dscompile-")  # removed with this object
        self.board = board
        super().__init__(artifact, board, Path(self._scratch.name))


def _remove(command: list[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60.0)


def _said(done: Executed) -> str:
    text = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return "".join(f"\n    {line}" for line in text[-5:])
