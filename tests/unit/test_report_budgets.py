"""Budgets of a net.yaml."""

from __future__ import annotations

import pytest

from dscompile.errors import UsageError
from dscompile.frontend.settings import TargetSettings
from dscompile.report.budgets import check_threads, setting_notes, settings_for


def test_settings_are_found_by_the_users_name_before_the_concrete_one():
    alias, concrete = TargetSettings(arena_bytes=1), TargetSettings(arena_bytes=2)
    both = {"x86-avx2": concrete, "x86": alias}
    assert settings_for(both, ("x86", "x86-avx2")) is alias
    assert settings_for({"x86-avx2": concrete}, ("x86", "x86-avx2")) is concrete
    assert settings_for({"cortex-m4": alias}, ("x86", "x86-avx2")) == TargetSettings()


def test_one_thread_needs_no_note():
    assert list(setting_notes("x86", TargetSettings(threads=1, arena_bytes=1, flash_bytes=1))) == []


def test_more_threads_are_refused():
    check_threads(1)
    with pytest.raises(UsageError, match="2 threads are not supported; artifacts of this version run on 1 thread"):
        check_threads(2)
