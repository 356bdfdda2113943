"""Tools that tests need beside Python and gcc."""

from __future__ import annotations

import os
import shutil

import pytest


def require_tools(*names: str) -> None:
    """Skips the test by name if a tool is missing; where DSCOMPILE_REQUIRE_TOOLS is set, as in CI, fails it."""
    for name in names:
        if shutil.which(name) is None:
            if os.environ.get("DSCOMPILE_REQUIRE_TOOLS"):
                pytest.fail(f"{name} is missing, and DSCOMPILE_REQUIRE_TOOLS is set")
            pytest.skip(f"{name} is not installed")
