"""The commands: what they read, what they write, and what may be on the disk when they were killed."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dscompile.artifact import load_artifact
from dscompile.cli.main import main
from dscompile.errors import DscompileError
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.onnx.export import export_onnx
from dscompile.frontend.writer import network_text
from dscompile.plan.tuning_file import read_tuning

Files = dict[str, bytes]
Inputs = Callable[[Path, bool], None]

_NET = """\
dscompile: 1
network:
  name: small
  input: {{name: image, shape: [1, 8, 8, 8]}}
  layers:
    - depthwise: {{name: first, kernel: 3}}
    - conv: {{name: second, out: {width}, kernel: 1}}
    - pool: {{name: mean, kind: average, over: all}}
    - dense: {{name: head, out: 8}}
weights: {{seed: {seed}}}
"""


@dataclass(frozen=True)
class Command:
    """A command of dscompile. `out/` beside its inputs is where its results go.

    `write_inputs(folder, new)` writes what it reads, for the earlier or the later result. `fault` compares what is on
    the disk after an ending (`now`) with what was there before, and with what an undisturbed run makes of it; `settled`
    does so after the next run. Both say what is wrong, or "".
    """

    name: str
    arguments: tuple[str, ...]
    write_inputs: Inputs
    fault: Callable[[Path, Files, Files], str]
    settled: Callable[[Files, Files, Files], str]

    def warm(self, folder: Path) -> None:
        """Imports what it needs, for the processes that are forked; for tuning, what builds need of TVM."""
        self.write_inputs(folder, True)
        arguments = self.arguments if self.name != "tune" else COMMANDS["build"].arguments
        with TemporaryDirectory(prefix="crash-") as scratch, redirect_stdout(io.StringIO()):
            result = Path(scratch) / arguments[arguments.index("-o") + 1]
            given = [str(folder / word) if (folder / word).is_file() else word for word in arguments]
            given[given.index("-o") + 1] = str(result)
            assert main([*given, "-q"]) == 0


def contents(folder: Path) -> Files:
    """Relative path -> bytes of all files under a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def is_leftover(name: str) -> bool:
    """Whether the first part of a path is what a killed process may leave: docs/robustness.md."""
    return re.fullmatch(r"\..+\.([0-9a-f]{16}\.tmp(\.old)?|for-[0-9a-f]{16}\.npz)", name.split("/")[0]) is not None


def _net(seed: int, width: int) -> str:
    return _NET.format(seed=seed, width=width)


def _write_net(folder: Path, new: bool) -> None:
    (folder / "net.yaml").write_text(_net(*((1, 16) if new else (2, 24))))


def _write_model(folder: Path, new: bool) -> None:
    """The later model has other layers."""
    _write_net(folder, new)
    _export(folder)


def _write_retrained(folder: Path, new: bool) -> None:
    """The later model differs by its weights alone, so that its net.yaml is the same."""
    (folder / "net.yaml").write_text(_net(1 if new else 2, 16))
    _export(folder)


def _export(folder: Path) -> None:
    network = read_netfile(folder / "net.yaml").network
    (folder / "model.onnx").write_bytes(export_onnx(network).SerializeToString())


def _write_float_net(folder: Path, new: bool) -> None:
    _write_net(folder, new)
    rng = np.random.default_rng(int(new))
    np.savez(folder / "data.npz", image=rng.normal(size=(4, 8, 8, 8)).astype(np.float32))


def _without_leftovers(files: Files) -> Files:
    return {name: content for name, content in files.items() if not is_leftover(name)}


def _artifact_fault(out: Path, before: Files, after: Files) -> str:
    now = _without_leftovers(contents(out))
    if now not in (before, after):
        return "the artifact is neither the old nor the new one"
    if now:
        load_artifact(out / "net").verify_files()
    return ""


def _network_digest(net: Path) -> str:
    """Of the network that a net.yaml and its weights give."""
    network = read_netfile(net).network
    digest = hashlib.sha256(network_text(network).encode())
    for key, array in sorted(network.weights.items()):
        digest.update(key.encode() + array.tobytes())
    return digest.hexdigest()


def _network_fault(out: Path, before: Files, after: Files) -> str:
    if not (out / "net.yaml").exists():
        return "the net.yaml is gone" if before else ""
    try:
        now = _network_digest(out / "net.yaml")
    except DscompileError as error:
        return f"the net.yaml and its weights do not fit: {error}"
    known = [_digest_of(files, out.parent) for files in (before, after) if files]
    return "" if now in known else "the network is neither the old nor the new one"


def _digest_of(files: Files, folder: Path) -> str:
    place = folder / "known"
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    for name, content in files.items():
        (place / name).write_bytes(content)
    return _network_digest(place / "net.yaml")


def _same(_before: Files, now: Files, after: Files) -> str:
    different = sorted(name for name in now.keys() | after.keys() if now.get(name) != after.get(name))
    return f"the next run made other files: {different}" if different else ""


def _tuning_fault(out: Path, before: Files, _after: Files) -> str:
    """Records are whole, and the journal has every line that it had."""
    records = out / "tuning.json"
    if records.exists():
        try:
            read_tuning(records)
        except DscompileError as error:
            return f"the records cannot be read: {error}"
    elif "tuning.json" in before:
        return "the records are gone"
    return _lines_fault(before, contents(out))


def _tuning_settled(before: Files, now: Files, after: Files) -> str:
    """Times differ from run to run; workloads do not, and what was measured is not measured again."""
    if now.keys() != after.keys():
        return f"the next run made other files: {sorted(now.keys() ^ after.keys())}"
    broken = [name for name in now if name.startswith("tuning.json.measured/") and not _is_lines(now[name])]
    if broken:
        return f"incomplete lines: {broken}"
    if _workloads(now) != _workloads(after):
        return "the next run has other workloads"
    return _lines_fault(before, now)


def _lines_fault(before: Files, now: Files) -> str:
    for name, content in before.items():
        whole = content[: content.rfind(b"\n") + 1]
        if name.startswith("tuning.json.measured/") and name != _LOCK and not now.get(name, b"").startswith(whole):
            return f"{name} has lost lines"
    return ""


_LOCK = "tuning.json.measured/lock"


def _is_lines(content: bytes) -> bool:
    return content.endswith(b"\n") or not content


def _workloads(files: Files) -> list[str]:
    records = json.loads(files["tuning.json"])["records"]
    return sorted(json.dumps(record["workload"], sort_keys=True) for record in records)


def _command(name: str, arguments: str, write: Inputs, *judges: Callable[..., str]) -> Command:
    fault, settled = judges
    return Command(name, tuple(arguments.split()), write, fault, settled)


_BUILD = "build net.yaml -o out/net -t"
COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        _command("build", f"{_BUILD} host", _write_net, _artifact_fault, _same),
        _command("build-c", f"{_BUILD} c99", _write_net, _artifact_fault, _same),
        _command("import", "import model.onnx -o out/net.yaml", _write_model, _network_fault, _same),
        _command("import-retrained", "import model.onnx -o out/net.yaml", _write_retrained, _network_fault, _same),
        _command(
            "quantize",
            "quantize net.yaml --calibrate data.npz -o out/net.yaml",
            _write_float_net,
            _network_fault,
            _same,
        ),
        _command(
            "tune",
            "tune net.yaml -o out/tuning.json --trials 3 --builders 1",
            _write_net,
            _tuning_fault,
            _tuning_settled,
        ),
    )
}


def names(text: str) -> Sequence[str]:
    """The commands that a comma-separated list names. Raises ValueError."""
    wanted = text.split(",")
    for name in wanted:
        if name not in COMMANDS:
            raise ValueError(f"'{name}' is none of {', '.join(COMMANDS)}")
    return wanted
