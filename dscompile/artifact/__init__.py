"""Artifacts: finished directories with a manifest. Emitters write them; runners, `bench` and the report read them."""

from dscompile.artifact.directory import (
    MANIFEST,
    Artifact,
    checksums,
    is_artifact,
    load_artifact,
    read_manifest,
    sha256,
    write_manifest,
)
from dscompile.artifact.manifest import (
    ArenaInfo,
    BufferInfo,
    Checksum,
    KernelInfo,
    KernelTraffic,
    KernelUse,
    LayerInfo,
    Manifest,
    Sizes,
    TuningInfo,
    VariantInfo,
    Versions,
)

__all__ = [
    "MANIFEST",
    "ArenaInfo",
    "Artifact",
    "BufferInfo",
    "Checksum",
    "KernelInfo",
    "KernelTraffic",
    "KernelUse",
    "LayerInfo",
    "Manifest",
    "Sizes",
    "TuningInfo",
    "VariantInfo",
    "Versions",
    "checksums",
    "is_artifact",
    "load_artifact",
    "read_manifest",
    "sha256",
    "write_manifest",
]
