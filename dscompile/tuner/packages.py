"""What tuning needs beside dscompile itself: a cost model that learns, and what TVM's own tuner imports."""

from __future__ import annotations

from importlib.util import find_spec

from dscompile.errors import ToolError

PACKAGES = ("psutil", "tornado", "cloudpickle", "xgboost")
EXTRA = "pip install 'dscompile[tune]'"


def require_packages() -> None:
    """Raises ToolError that names what is not installed."""
    missing = [package for package in PACKAGES if not _is_there(package)]
    if missing:
        raise ToolError(f"tuning needs {' and '.join(missing)}, which {_are(missing)} not installed", help=EXTRA)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # a module that was put in place of it
        return False


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
