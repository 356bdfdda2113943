"""What the benchmark must show, on any machine: ratios to the best peer, and absolute bounds."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.tables import Table

# Network -> time of the best peer over dscompile's, at least (Table.best_ratio).
FLOAT32 = {
    "mobilenetv1_100": 1.12,
    "mobilenetv2_100": 1.22,
    "mobilenetv3_large_100": 1.37,
    "efficientnet_lite0": 1.20,
    "efficientnet_b0": 1.34,
    "shufflenetv2_x1_0": 1.35,
    "xception": 1.10,
}
INT8 = {
    "mobilenetv1_100": 1.35,
    "mobilenetv2_100": 1.50,
    "mobilenetv3_large_100": 2.0,
    "efficientnet_lite0": 1.5,
    "efficientnet_b0": 1.8,
    "shufflenetv2_x1_0": 2.0,
}
LOAD_S = 0.020
BUILD_S = 90.0
EXTRA_BYTES = 8_000_000  # of memory, beside weights and arena


def shortfalls(table: Table) -> Iterator[str]:
    """What a table misses, a sentence each."""
    own, best = table.own, table.best_peer
    if own is None:
        return
    floors = INT8 if table.precision == "int8" else FLOAT32
    wanted = floors.get(table.network.removesuffix("_int8"))
    ratio = table.best_ratio
    if wanted is not None and best is not None and ratio is not None and ratio < wanted:
        yield f"{table.network}: {best.contender} takes {ratio:.2f} of dscompile's time, {wanted} is asked for"
    if own.load_s is not None and own.load_s > LOAD_S:
        yield f"{table.network}: loading takes {1e3 * own.load_s:.0f} ms, at most {1e3 * LOAD_S:.0f} are asked for"
    if own.build_s is not None and own.build_s > BUILD_S:
        yield f"{table.network}: building takes {own.build_s:.0f} s, at most {BUILD_S:.0f} are asked for"
    if None not in (own.model_rss_bytes, own.model_bytes, own.arena_bytes):
        extra = own.model_rss_bytes - own.model_bytes - own.arena_bytes
        if extra > EXTRA_BYTES:
            yield f"{table.network}: {extra / 1e6:.1f} MB of memory beside library and arena, at most 8 are asked for"
