"""Targets: hardware as data, read from `targets/*.yaml` or a file of the user's.

Nothing in the compiler asks for a target by name; code asks what it has: `target.lanes`, `target.has("avx512f")`.
"""

from dscompile.target.amounts import parse_rate
from dscompile.target.description import BROADCAST, Caches, Choice, Target
from dscompile.target.file import TARGET_KEYS, next_cost
from dscompile.target.finding import (
    build_target,
    find_target,
    is_target_file,
    list_targets,
    precision_advice,
    representative,
    resolve_target,
    target_advice,
    target_names,
    target_path,
    useful_variants,
    variants_of,
)
from dscompile.target.machine import host_features, machine_family, runs_here

__all__ = [
    "BROADCAST",
    "TARGET_KEYS",
    "Caches",
    "Choice",
    "Target",
    "build_target",
    "find_target",
    "host_features",
    "is_target_file",
    "list_targets",
    "machine_family",
    "next_cost",
    "parse_rate",
    "precision_advice",
    "representative",
    "resolve_target",
    "runs_here",
    "target_advice",
    "target_names",
    "target_path",
    "useful_variants",
    "variants_of",
]
