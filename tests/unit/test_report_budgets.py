"""Budgets of a net.yaml."""

from __future__ import annotations

from dscompile.frontend.settings import TargetSettings
from dscompile.report.budgets import setting_notes, settings_for


def test_settings_are_found_by_the_users_name_before_the_concrete_one():
    alias, concrete = TargetSettings(arena_bytes=1), TargetSettings(arena_bytes=2)
    both = {"x86-avx2": concrete, "x86": alias}
    assert settings_for(both, ("x86", "x86-avx2")) is alias
    assert settings_for({"x86-avx2": concrete}, ("x86", "x86-avx2")) is concrete
    assert settings_for({"cortex-m4": alias}, ("x86", "x86-avx2")) == TargetSettings()


def test_threads_of_a_target_that_has_them_need_no_note():
    settings = TargetSettings(threads=2, arena_bytes=1, flash_bytes=1)
    assert list(setting_notes("x86", settings, has_threads=True)) == []


def test_one_thread_needs_no_note():
    assert list(setting_notes("cortex-m4", TargetSettings(threads=1), has_threads=False)) == []


def test_threads_of_a_target_that_has_none_are_said_to_have_no_effect():
    assert list(setting_notes("cortex-m4", TargetSettings(threads=2), has_threads=False)) == [
        "cortex-m4: 'threads: 2' has no effect; threads share an inference on x86 and arm64"
    ]
