"""The GPU of a target as JSON, so that an artifact can be compiled and estimated again later."""

from __future__ import annotations

from dscompile.artifact.fields import Fields, Json
from dscompile.gpu import Gpu


def gpu_to_json(gpu: Gpu | None) -> Json | None:
    """The GPU as one flat object; null if there is none."""
    return None if gpu is None else {**vars(gpu), "also": list(gpu.also)}


def gpu_from_json(fields: Fields) -> Gpu | None:
    """The GPU in an object; None, with an entry in `fields.problems`, if it makes no sense."""
    try:
        return Gpu(
            arch=fields.text("arch"),
            device=fields.text("device"),
            multiprocessors=fields.whole("multiprocessors"),
            clock_hz=fields.number("clock_hz"),
            fma_per_clock=fields.whole("fma_per_clock"),
            tensor_fma_per_clock=fields.whole("tensor_fma_per_clock"),
            dram_bytes_per_s=fields.number("dram_bytes_per_s"),
            l2_bytes=fields.whole("l2_bytes"),
            warp_threads=fields.whole("warp_threads", least=1),
            threads_per_block=fields.whole("threads_per_block"),
            threads_per_multiprocessor=fields.whole("threads_per_multiprocessor"),
            blocks_per_multiprocessor=fields.whole("blocks_per_multiprocessor"),
            registers_per_multiprocessor=fields.whole("registers_per_multiprocessor"),
            registers_per_thread=fields.whole("registers_per_thread"),
            register_unit=fields.whole("register_unit", least=1),
            shared_per_multiprocessor_bytes=fields.whole("shared_per_multiprocessor_bytes"),
            shared_per_block_bytes=fields.whole("shared_per_block_bytes"),
            shared_reserved_bytes=fields.whole("shared_reserved_bytes"),
            shared_unit_bytes=fields.whole("shared_unit_bytes", least=1),
            also=fields.texts("also"),
        )
    except ValueError as error:
        fields.problems.append(f"'{fields.where.rstrip('.')}': {error}")
        return None
