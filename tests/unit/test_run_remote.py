"""Artifacts on another machine: through an `ssh` that runs commands here, and through a real one where it can serve."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dscompile
from dscompile.artifact import Artifact
from dscompile.cli.main import main
from dscompile.emit.selftest import selftest_input
from dscompile.errors import CheckFailedError, ExitCode, ToolError, UsageError
from dscompile.run.opening import open_remote
from dscompile.run.remote import Address, Board, parse_address
from dscompile.run.selftest import run_selftest_with
from dscompile.target import find_target, machine_family
from tests.cli.conftest import TINY
from tests.tiny_programs import TARGET, Tiny, single, write_both
from tests.tools import require_tools

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or machine_family() != "x86", reason="needs gcc on an x86-64 machine"
)

FAKE = """#!/bin/sh
# As ssh: options, --, host, command. Runs the command here, in a home of its own.
options=
while [ "$1" != -- ]; do options="$options $1"; shift; done
shift
echo "$1|$options|$2" >>"$FAKE_LOG"
case "$FAKE_FAILURE" in
"") ;;
*) echo "$FAKE_FAILURE" >&2; exit 255 ;;
esac
PATH="$FAKE_PATH:$PATH" exec sh -c "$2"
"""


class FakeSsh:
    """A machine behind a fake ssh: its directory for temporary files, its own programs, and what was asked of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = folder / "board"
        self.programs = folder / "programs"
        self.log = folder / "log"
        self._monkeypatch = monkeypatch
        for directory in (self.files, self.programs, folder / "bin"):
            directory.mkdir()
        (folder / "bin" / "ssh").write_text(FAKE)
        (folder / "bin" / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("TMPDIR", str(self.files))
        monkeypatch.setenv("FAKE_LOG", str(self.log))
        monkeypatch.setenv("FAKE_PATH", str(self.programs))
        monkeypatch.setenv("FAKE_FAILURE", "")

    def program(self, name: str, script: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def fail(self, message: str) -> None:
        self._monkeypatch.setenv("FAKE_FAILURE", message)

    @property
    def calls(self) -> list[list[str]]:
        return [line.split("|") for line in self.log.read_text().splitlines() if line.count("|") >= 2]

    @property
    def left(self) -> list[str]:
        """Our directories that are still there."""
        return [path.name for path in self.files.iterdir() if path.name.startswith("dscompile-") and
                any(child.name.startswith(("network-", "selftest-")) for child in path.iterdir())]  # fmt: skip


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    return FakeSsh(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return single().write(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi", Address("pi")),
        ("ssh://me@pi.local:2222", Address("pi.local", "me", 2222)),
        ("ssh://[::1]:22", Address("::1", None, 22)),
        ("ssh://192.168.0.7/", Address("192.168.0.7")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["pi", "http://pi", "ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://-u@pi", "ssh://pi/path", "ssh://pi:x"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no runner") as caught:
        parse_address(text)
    assert caught.value.diagnostics[0].help == "write ssh://host, ssh://user@host or ssh://user@host:2222"


def test_a_port_has_a_range() -> None:
    with pytest.raises(UsageError, match="a port is a number from 1 to 65535"):
        parse_address("ssh://pi:70000")


def test_results_and_times_come_back_and_nothing_stays(tiny: Artifact, board: FakeSsh) -> None:
    model = open_remote(tiny, "ssh://me@pi:2222")
    assert model.runner == "ssh://me@pi:2222"
    inputs = selftest_input(single().network)
    np.testing.assert_array_equal(model.run(inputs)["scores"], single().expected(inputs)["scores"])
    times = model.latencies_us(inputs, 7)
    assert times.shape == (7,)
    assert (times > 0).all()
    assert (times < 1e5).all()
    with pytest.raises(UsageError, match="at least 1, not 0"):
        model.latencies_us(inputs, 0)
    assert run_selftest_with(model.launcher, tiny).message == "tiny selftest: ok, largest error 0, tolerance 0.0001"
    directory = Path(model.board.directory)
    assert directory.parent == board.files
    assert directory.stat().st_mode & 0o777 == 0o700
    model.board.close()
    assert not directory.exists()
    host, options, _ = board.calls[0]
    assert host == "me@pi"
    assert "BatchMode=yes" in options
    assert "-p 2222" in options


def test_the_directory_is_removed_with_the_object(tiny: Artifact, board: FakeSsh) -> None:
    model = open_remote(tiny, "ssh://pi")
    model.run(selftest_input(single().network))
    assert len(board.left) == 1
    del model
    assert board.left == []


def test_a_library_of_variants_says_which_one_the_machine_runs(board: FakeSsh, tmp_path: Path) -> None:
    artifact = write_both(tmp_path / "both")
    model = open_remote(artifact, "ssh://pi")
    assert model.runner.startswith("ssh://pi as tiny-")
    model.board.close()


def test_a_greeting_of_the_machine_does_no_harm(tiny: Artifact, board: FakeSsh) -> None:
    board.program("mktemp", 'echo "Welcome" >&2; exec /usr/bin/mktemp "$@"')
    with Board(Address("pi"), tiny.manifest.target) as opened:
        assert Path(opened.directory).is_dir()
    assert not Path(opened.directory).exists()


FAILURES = {
    "Host key verification failed.": "connect once by hand with 'ssh me@pi' and accept its key",
    "me@pi: Permission denied (publickey).": "passwords are not asked for; let a key in: ssh-copy-id me@pi",
    "ssh: Could not resolve hostname pi: Name or service not known": "check the name of the host",
    "ssh: connect to host pi port 22: Connection refused": "check that its SSH server runs, and the port",
    "ssh: connect to host pi port 22: Connection timed out": "check that the host is on and can be reached",
    "kex_exchange_identification: something else": None,
}


@pytest.mark.parametrize("message", FAILURES)
def test_what_ssh_says_is_shown_with_what_to_do(tiny: Artifact, board: FakeSsh, message: str) -> None:
    board.fail(message)
    with pytest.raises(ToolError) as caught:
        open_remote(tiny, "ssh://me@pi")
    assert caught.value.code == ExitCode.TOOL_MISSING
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.message == f"looking at the machine on ssh://me@pi failed: ssh gave up\n    {message}"
    assert diagnostic.help == FAILURES[message]


def test_a_missing_ssh_is_named(tiny: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="ssh is not installed") as caught:
        open_remote(tiny, "ssh://pi")
    assert caught.value.diagnostics[0].help == "on Debian and Ubuntu: apt install openssh-client"


def test_a_machine_of_another_kind_is_refused_and_left_clean(tiny: Artifact, board: FakeSsh) -> None:
    board.program("uname", "echo riscv64")
    with pytest.raises(ToolError, match="ssh://pi is a machine of type 'riscv64', the artifact is built for tiny-x86"):
        open_remote(tiny, "ssh://pi")
    assert any("rm -rf" in command for _, _, command in board.calls)


def test_a_machine_that_lacks_features_is_refused(board: FakeSsh) -> None:
    board.program("grep", 'echo "flags : sse2 avx2"')
    with pytest.raises(ToolError, match=r"ssh://pi lacks avx512_vnni, which mine needs") as caught:
        Board(Address("pi"), replace(TARGET, name="mine", features=frozenset({"avx2", "avx512_vnni"})))
    assert "build with --target x86, which has variants" in str(caught.value)


def test_a_machine_without_proc_is_asked_for_nothing(board: FakeSsh) -> None:
    board.program("grep", "exit 1")
    Board(Address("pi"), replace(TARGET, features=frozenset({"avx512_vnni"}))).close()


def test_a_machine_that_makes_no_directory(tiny: Artifact, board: FakeSsh) -> None:
    board.program("mktemp", "echo 'No space left on device' >&2; exit 1")
    with pytest.raises(ToolError, match=r"ssh://pi made no directory for us\n    No space left on device"):
        open_remote(tiny, "ssh://pi")


def test_a_disk_that_is_full_when_copying(tiny: Artifact, board: FakeSsh) -> None:
    board.program("cat", "/bin/cat >/dev/null; echo 'No space left on device' >&2; exit 1")
    program = board.files / "network"
    program.write_text("")
    opened = Board(Address("pi"), tiny.manifest.target)
    with pytest.raises(ToolError, match=r"copying network to ssh://pi failed\n    No space left on device"):
        opened.execute(program)
    opened.close()


def test_a_machine_that_does_not_execute_in_its_temporary_directory(tiny: Artifact, board: FakeSsh) -> None:
    board.program("chmod", "exit 0")
    model = open_remote(tiny, "ssh://pi")
    with pytest.raises(ToolError, match=r"ssh://pi does not run programs in .*/dscompile-") as caught:
        model.run(selftest_input(single().network))
    assert "noexec" in str(caught.value)
    model.board.close()
    assert board.left == []


def test_a_program_that_crashes_is_a_failed_check(tiny: Artifact, board: FakeSsh, tmp_path: Path) -> None:
    from tests.tiny_programs import KERNELS, compiled

    source = KERNELS.format(p="tiny_", n=12).replace("memcpy(y", "__builtin_trap(); memcpy(y")
    artifact = Tiny(single().program, compiled(source)).write(tmp_path / "net")
    model = open_remote(artifact, "ssh://pi")
    with pytest.raises(CheckFailedError, match="tiny on ssh://pi ended with signal SIGILL"):
        model.run(selftest_input(single().network))


def test_answers_of_the_wrong_size_are_not_believed(
    tiny: Artifact, board: FakeSsh, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dscompile.run.program import Executed

    model = open_remote(tiny, "ssh://pi")
    monkeypatch.setattr(model.board, "execute", lambda *_: Executed(0, b"12345", b""))
    inputs = selftest_input(single().network)
    with pytest.raises(ToolError, match="ssh://pi gave back 5 bytes of outputs instead of 64"):
        model.run(inputs)
    with pytest.raises(ToolError, match=r"ssh://pi gave back 5 bytes for 2 times$"):
        model.latencies_us(inputs, 2)
    with pytest.raises(ToolError, match="ssh://pi gave back 5 bytes for 3 times of 2 steps"):
        model.profile(inputs, 3)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    (folder / "tiny.yaml").write_text(TINY)
    return dscompile.build(folder / "tiny.yaml", "x86", folder / "out").path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_verify_runs_everything_there(built: Path, board: FakeSsh, run: Run) -> None:
    code, out, _ = run("verify", built, "--runner", "ssh://me@pi", "--json")
    assert code == 0
    record = json.loads(out)
    assert record["runner"].startswith("ssh://me@pi as x86-")
    assert [check["against"] for check in record["checks"]] == ["oracle", "selftest.c"]
    assert record["instructions"] is None
    assert board.left == []
    copied = [command for _, _, command in board.calls if command.startswith("cat >")]
    assert len(copied) == 2  # the network and the self-test, each once


def test_bench_brings_times_back(built: Path, board: FakeSsh, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("bench", built, "--runner", "ssh://pi", "--repeats", "20", "--json")
    assert code == 0
    (result,) = json.loads(out)["results"]
    assert result["runner"].startswith("ssh://pi as x86-")
    assert (result["repeats"], result["peak_gflops"], result["peers"]) == (20, None, {})
    assert 0 < result["median_us"] < 1e5
    assert board.left == []
    code, out, _ = run("bench", built, "--runner", "ssh://pi", "--repeats", "20", "--layers", "--json")
    steps = {step["name"]: step["median_us"] for step in json.loads(out)["results"][0]["steps"]}
    assert {"stem", "softmax"} <= set(steps)
    assert all(0 <= time_us < 1e5 for time_us in steps.values())
    assert board.left == []
    other = Path(shutil.copytree(built, tmp_path / "other"))
    code, out, _ = run("bench", built, "--runner", "ssh://pi", "--repeats", "20", "--against", other)
    assert code == 0
    assert str(other) in out
    assert board.left == []


def test_runtimes_do_not_run_there(built: Path, board: FakeSsh, run: Run) -> None:
    code, _, err = run("bench", built, "--runner", "ssh://pi", "--against", "onnxruntime", "--model", "x.onnx")
    assert code == 2
    assert "onnxruntime would run on this machine, and the artifacts on ssh://pi" in err


def test_c_sources_are_not_copied(tmp_path: Path, built: Path, board: FakeSsh, run: Run) -> None:
    c99 = dscompile.build(built.parent / "tiny.yaml", "c99", tmp_path / "c99").path
    code, _, err = run("verify", c99, "--runner", "ssh://pi")
    assert code == 2
    assert "holds C sources, which --runner does not copy" in err


def test_an_artifact_for_arm_finds_out_that_the_machine_is_none(board: FakeSsh) -> None:
    with pytest.raises(ToolError, match="is a machine of type 'x86_64', the artifact is built for arm64-neon"):
        Board(Address("pi"), find_target("arm64-neon"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real sshd of our own on the loopback interface, with a key that it lets in."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if sshd is None:
        pytest.skip("sshd is not installed")
    require_tools("ssh-keygen", "ssh")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    port = free_port()
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path}/authorized\n"
    )
    known = f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}"
    (tmp_path / "known").write_text(known)
    config = f"Host *\n  IdentityFile {tmp_path}/user\n  UserKnownHostsFile {tmp_path}/known\n  IdentitiesOnly yes\n"
    (tmp_path / "config").write_text(config)
    (tmp_path / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with subprocess.Popen([sshd, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.DEVNULL) as process:
        time.sleep(1.0)
        if process.poll() is not None:
            pytest.skip("sshd does not run here without more rights")
        yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        process.terminate()


@pytest.mark.slow
def test_through_a_real_server(built: Path, server: str, run: Run) -> None:
    code, out, err = run("verify", built, "--runner", server)
    assert code == 0, err
    assert "ok" in out
    code, _, err = run("bench", built, "--runner", server, "--repeats", "5")
    assert code == 0, err
