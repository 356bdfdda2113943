"""Finds the data that travels with the package: templates/, targets/, nets/.

In a checkout they stand beside the package; in a wheel they are inside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_directory(name: str) -> Path:
    """The directory `name` ("templates", "targets" or "nets"), installed or in a checkout.

    Raises FileNotFoundError if the installation is broken.
    """
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"dscompile's own data directory '{name}' is missing; reinstall the package")
