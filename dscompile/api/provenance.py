"""What a build reads and with which tools: for the manifest of its artifact."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.frontend.load import ONNX_SUFFIX
from dscompile.target import Target, is_target_file, target_path
from dscompile.version import __version__

if TYPE_CHECKING:
    from dscompile.artifact import InputFile, Role, Tool
    from dscompile.frontend.loaded import NetFile

_ALWAYS = ("numpy", "jinja2")
_TVM = ("apache-tvm", "apache-tvm-ffi")


def network_files(net: NetFile) -> tuple[InputFile, ...]:
    """The network's file and those of its weights; none for a network in memory, whose path names no file."""
    if not net.is_file:
        return ()
    beside = net.weight_files
    if net.path.suffix.lower() == ONNX_SUFFIX:
        from dscompile.frontend.onnx.external import external_files

        beside = external_files(net.path)
    return (*_files("network", [net.path]), *_files("weights", beside))


def target_files(name: str, target: Target) -> tuple[InputFile, ...]:
    """The file of the `target` that a user calls `name`, and those of its variants."""
    own = name if is_target_file(name) else target.name
    return _files("target", [target_path(one) for one in (own, *target.variants)])


def tuning_files(paths: Iterable[Path]) -> tuple[InputFile, ...]:
    """Files of tuning records."""
    return _files("tuning", dict.fromkeys(paths))


def tools(target: Target) -> tuple[Tool, ...]:
    """What makes the code for a target, but for a C compiler: that of libraries imports tvm to ask for LLVM."""
    from dscompile.artifact import Tool

    used = [Tool("dscompile", __version__), Tool("python", platform.python_version())]
    packages = _ALWAYS if target.kernels else (*_ALWAYS, *_TVM)
    used += [Tool(name, _version(name)) for name in packages]
    if not target.kernels and target.gpu is None:
        from dscompile.schedule.machine_code import llvm_version

        used.append(Tool("llvm", llvm_version()))
    return tuple(used)


def _version(package: str) -> str:
    """Of an installed package; "unknown" of one that was put on Python's path by other means."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _files(role: Role, paths: Iterable[Path]) -> tuple[InputFile, ...]:
    from dscompile.artifact import InputFile, sha256

    return tuple(InputFile(role, path.name, path.stat().st_size, sha256(path)) for path in paths)
