"""What this machine is, and which targets it runs."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from dscompile.target.description import PORTABLE, Target

_FAMILIES = {"x86_64": "x86", "AMD64": "x86", "aarch64": "arm64", "arm64": "arm64"}  # by platform.machine()


def runs_here(target: Target, features: frozenset[str] | None = None) -> bool:
    """Whether artifacts for `target` run on this machine; portable C does wherever it is compiled."""
    available = host_features() if features is None else features
    return target.family == PORTABLE or (target.family == machine_family() and target.features <= available)


def machine_family() -> str | None:
    """The family of targets that this machine belongs to; None if there is none."""
    return _FAMILIES.get(platform.machine())


def host_features() -> frozenset[str]:
    """Instruction-set features of this machine as Linux names them; empty where there is no /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()
