"""Targets by name: those that ship, files of the user's, and what `host`, `x86` and the like stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from dscompile.data import data_directory
from dscompile.errors import BadInputError, ToolError, UsageError, did_you_mean
from dscompile.target import machine
from dscompile.target.description import BF16_FEATURES, INT8_FEATURES, Target
from dscompile.target.file import read_target


def list_targets() -> tuple[Target, ...]:
    """Every target that ships, in the order of their names."""
    return tuple(_shipped(path) for path in sorted(data_directory("targets").glob("*.yaml")))


def target_names() -> tuple[str, ...]:
    """The names of all targets that ship, sorted; no file is read."""
    return tuple(path.stem for path in sorted(data_directory("targets").glob("*.yaml")))


def precision_advice(precision: str) -> str:
    """Which targets multiply what a user asked another one for."""
    return f"targets that do: {', '.join(t.name for t in list_targets() if precision in t.precisions)}"


def is_target_file(name: str) -> bool:
    """Whether the user means a target file of their own rather than a target that ships."""
    return name.endswith((".yaml", ".yml")) or "/" in name


def target_advice(name: str) -> str:
    """What a user who wrote the unknown target `name` may have meant."""
    names = target_names()
    return did_you_mean(name, names) or f"known: {', '.join(names)}"


def find_target(name: str) -> Target:
    """The target called `name`, or in the file `name`; as written, before `host` and the like are resolved.

    Raises UsageError for an unknown name and BadInputError for a bad file.
    """
    if is_target_file(name):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"there is no target file '{name}'")
        return read_target(path)
    if name not in target_names():
        raise UsageError(f"unknown target '{name}'", help=target_advice(name))
    return _shipped(target_path(name))


@cache
def _shipped(path: Path) -> Target:
    """A target of this package, whose files nobody changes while it runs."""
    return read_target(path)


def target_path(name: str) -> Path:
    """The file of the target called `name`, which is there, or the file `name` itself."""
    return Path(name) if is_target_file(name) else data_directory("targets") / f"{name}.yaml"


def resolve_target(name: str) -> Target:
    """One concrete target: for `host`, `x86` and the like the best variant that this machine runs.

    Raises UsageError, BadInputError, or ToolError when this machine runs none of the variants.
    """
    target = find_target(name)
    if not target.variants:
        return target
    features = machine.host_features()
    for variant in target.variants:
        candidate = find_target(variant)
        if machine.runs_here(candidate, features):
            return candidate
    raise ToolError(
        f"this machine runs none of the variants of '{name}' ({', '.join(target.variants)})",
        help="name one of them to build for another machine",
    )


def build_target(name: str) -> Target:
    """What a build for `name` makes: `host` becomes a concrete target, while `x86` and `arm64` stay the names of a
    library with several variants, aligned for the most demanding one and run wherever the least demanding one does.

    Raises as `resolve_target`, and BadInputError for variants that cannot be one library.
    """
    target = find_target(name)
    if not target.variants or target.choice == "build":
        return resolve_target(name)
    variants = variants_of(target)
    others = [variant.name for variant in variants if variant.family != target.family or variant.variants]
    if others:
        raise BadInputError(f"target {target.name}: {', '.join(others)} cannot be a variant of family {target.family}")
    return replace(
        target,
        features=frozenset.intersection(*(variant.features for variant in variants)),
        vector_bytes=max(variant.vector_bytes for variant in variants),
        arena_alignment=max(variant.arena_alignment for variant in variants),
    )


def variants_of(target: Target) -> tuple[Target, ...]:
    """The concrete targets that a target stands for, best first; itself if it is concrete."""
    return tuple(find_target(name) for name in target.variants) or (target,)


def representative(target: Target) -> Target:
    """The variant to show when one must stand for all: the best that this machine runs, otherwise the best."""
    variants = variants_of(target)
    return next((variant for variant in variants if machine.runs_here(variant)), variants[0])


def useful_variants(variants: Sequence[Target], *, int8: bool) -> tuple[tuple[Target, ...], ...]:
    """The variants that a network has a use for, each in front of those that it also stands for.

    A float32 network needs no variant that differs from the next less demanding one by what it does not multiply alone.
    """
    unused = INT8_FEATURES | BF16_FEATURES
    groups: list[tuple[Target, ...]] = []
    for variant in reversed(variants):
        if groups and not int8 and variant.features - unused == groups[0][0].features - unused:
            groups[0] = (*groups[0], variant)
        else:
            groups.insert(0, (variant,))
    return tuple(groups)
