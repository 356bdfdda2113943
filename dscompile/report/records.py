"""Results as the JSON that scripts rely on (docs/commands.md). Keys may be added; those that are there stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dscompile.report.record import Record

if TYPE_CHECKING:  # each command pays only for the records it makes
    from dscompile.artifact import Artifact
    from dscompile.frontend.zoo import ZooEntry
    from dscompile.ir.cost import SeparablePair
    from dscompile.ir.network import Network
    from dscompile.ir.tensor import Tensor
    from dscompile.plan.mcu.estimates import Estimate
    from dscompile.report.comparison import Verification
    from dscompile.report.cycles import LoopCycles
    from dscompile.report.inspection import ArenaMap, Inspection
    from dscompile.report.timing import BenchResult, CountResult, StepTiming, Timing, TrafficResult
    from dscompile.target import Target


def inspection_record(inspection: Inspection) -> Record:
    """`inspect --json`: `gpu` has the modules of a GPU's plan."""
    from dscompile.artifact.json_form import streaming_to_json, tuning_to_json
    from dscompile.report.gpu_plan import plan_record
    from dscompile.report.tuning import tiles_record

    return {
        **_network(inspection.network),
        "target": inspection.target.name if inspection.target else None,
        "precision": inspection.precision,
        "macs": inspection.macs,
        "parameters": inspection.parameters,
        "standard_macs": inspection.standard_macs,
        "standard_parameters": inspection.standard_parameters,
        "roofs": _roofs(inspection),
        "separable": [_pair(pair) for pair in inspection.pairs],
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "input": list(layer.input),
                "output": list(layer.output),
                "macs": layer.macs,
                "parameters": layer.parameters,
                "standard_macs": layer.standard_macs,
                "standard_parameters": layer.standard_parameters,
                "bytes": layer.size_bytes,
                "flops": layer.flops,
                "flops_per_byte": layer.flops_per_byte,
                "roofline_cycles": layer.cycles,
                "roofline_share": layer.share,
                "roofline_limit": layer.limit,
                **_estimate(layer.estimate),
                "storage": layer.storage,
                "saved_bytes": layer.saved_bytes,
            }
            for layer in inspection.layers
        ],
        **_estimate(inspection.estimate),
        "time_us": inspection.time_us,
        "arena": _arena(inspection.arena) if inspection.arena else None,
        "streaming": streaming_to_json(inspection.streaming) if inspection.streaming else None,
        "gpu": plan_record(inspection.modules),
        "tuning": tuning_to_json(inspection.tuning) if inspection.tuning else None,
        "tiles": tiles_record(inspection.tiles),
        "loops": None if inspection.loops is None else [_loop(loop) for loop in inspection.loops],
    }


def _estimate(estimate: Estimate | None) -> Record:
    """Instructions and cycles, or null: of a layer that another one's loop computes, and where nobody can say."""
    if estimate is None:
        return {"instructions": None, "cycles": None}
    return {"instructions": estimate.instructions, "cycles": estimate.cycles}


def _roofs(inspection: Inspection) -> Record | None:
    roofs = inspection.roofs
    if roofs is None:
        return None
    return {
        "flops_per_cycle": roofs.flops_per_cycle,
        "levels": [
            {"name": level.name, "capacity_bytes": level.capacity_bytes, "bytes_per_cycle": level.bytes_per_cycle}
            for level in roofs.levels
        ],
    }


def _pair(pair: SeparablePair) -> Record:
    return {
        "depthwise": pair.depthwise,
        "pointwise": pair.pointwise,
        "kernel": list(pair.kernel),
        "in_channels": pair.in_channels,
        "out_channels": pair.out_channels,
        "macs": pair.macs,
        "standard_macs": pair.standard_macs,
        "ratio": pair.ratio,
        "formula": pair.formula,
    }


def _loop(loop: LoopCycles) -> Record:
    return {
        "step": loop.step,
        "kernel": loop.kernel,
        "instructions": loop.instructions,
        "macs": loop.macs,
        "cycles": loop.cycles,
        "macs_per_cycle": loop.macs_per_cycle,
    }


def check_record(path: str, inspection: Inspection, notes: Sequence[str]) -> Record:
    """`check --json`."""
    return {
        "ok": True,
        "path": path,
        **_network(inspection.network),
        "layers": len(inspection.layers),
        "macs": inspection.macs,
        "parameters": inspection.parameters,
        "notes": list(notes),
    }


def import_record(path: str, network: Network, notes: Sequence[str]) -> Record:
    """`import --json`."""
    return {"path": path, **_network(network), "notes": list(notes)}


def build_record(artifacts: Sequence[Artifact]) -> Record:
    """`build --json`: `kernels` are those of a GPU, as ptxas assigned their registers, `library` the shared one."""
    from dscompile.artifact.json_form import packed_to_json, streaming_to_json, tuning_to_json
    from dscompile.ir.state import state_bytes
    from dscompile.report.kernels import artifact_kernels, kernels_record
    from dscompile.report.memories import memories_record

    return {
        "artifacts": [
            {
                "path": str(artifact.directory),
                "target": artifact.manifest.target.name,
                "precision": artifact.manifest.precision,
                "arena_bytes": artifact.manifest.arena.size_bytes,
                "streaming": streaming_to_json(artifact.manifest.streaming) if artifact.manifest.streaming else None,
                "memories": memories_record(artifact.manifest.memories),
                "state_bytes": state_bytes(artifact.manifest.slots),
                "flash_bytes": artifact.manifest.sizes.flash_bytes,
                "macs": artifact.manifest.macs,
                "parameters": artifact.manifest.parameters,
                "fallback_layers": list(artifact.manifest.fallback_layers),
                "tuning": [tuning_to_json(one) for one in artifact.manifest.tuning],
                "variants": [
                    {
                        "name": variant.name,
                        "stands_for": list(variant.stands_for),
                        "text_bytes": variant.text_bytes,
                        "constants_bytes": variant.constants_bytes,
                        "arena_bytes": variant.arena_bytes,
                    }
                    for variant in artifact.manifest.variants
                ],
                "library": artifact.shared_library.name if artifact.has_shared_library else None,
                "kernels": kernels_record(artifact_kernels(artifact.manifest)),
                "packed": [packed_to_json(one) for one in artifact.manifest.packed],
            }
            for artifact in artifacts
        ]
    }


def verify_record(verification: Verification) -> Record:
    """`verify --json`: `outputs` counts compared elements, `mismatches` those outside the tolerance."""
    from dscompile.report.traffic import traffic_record

    return {
        "ok": verification.ok,
        "path": verification.path,
        "runner": verification.runner,
        "outputs": sum(check.elements for check in verification.checks),
        "mismatches": sum(check.mismatches for check in verification.checks),
        "max_abs_error": verification.max_abs_error,
        "max_rel_error": verification.max_rel_error,
        "precision": verification.precision,
        "tolerance": verification.tolerance,
        "instructions": verification.instructions,
        "traffic": traffic_record(verification.traffic),
        "checks": [
            {
                "against": check.against,
                "ok": check.ok,
                "inputs": check.inputs,
                "outputs": check.elements,
                "mismatches": check.mismatches,
                "max_abs_error": check.max_abs_error,
                "max_rel_error": check.max_rel_error,
                "detail": check.detail,
            }
            for check in verification.checks
        ],
    }


def bench_record(results: Sequence[BenchResult | CountResult | TrafficResult]) -> Record:
    """`bench --json`: a peer's `ratio` is its median over the artifact's; emulated devices have counts and no times."""
    from dscompile.report.timing import BenchResult

    return {"results": [_bench(one) if isinstance(one, BenchResult) else _count(one) for one in results]}


def _bench(result: BenchResult) -> Record:
    steps = {} if result.steps is None else {"steps": [_step(step) for step in result.steps]}
    return {
        "path": result.path,
        "target": result.target,
        "threads": result.threads,
        "runner": result.runner,
        **_timing(result.timing),
        "macs": result.macs,
        "gmac_per_s": result.gmac_per_second,
        "peak_gflops": result.peak_gflops,
        "peak_gflops_fraction": result.peak_gflops_fraction,
        "latency_budget_us": result.latency_budget_us,
        "peers": {name: {**_timing(peer.timing), "ratio": peer.ratio} for name, peer in result.peers.items()},
        **steps,
    }


def _step(step: StepTiming) -> Record:
    return {
        "name": step.name,
        "kind": step.kind,
        "macs": step.macs,
        "median_us": step.median_us,
        "layers": [
            {"name": part.name, "macs": part.macs, "macs_share": part.macs / step.macs if step.macs else None}
            for part in step.parts
        ],
    }


def _count(result: CountResult | TrafficResult) -> Record:
    from dscompile.report.timing import TrafficResult
    from dscompile.report.traffic import traffic_record

    common = {
        "path": result.path,
        "target": result.target,
        "threads": 1,
        **dict.fromkeys(("median_us", "p95_us", "min_us", "repeats", "peak_gflops_fraction")),
        "macs": result.macs,
        "runner": result.runner,
    }
    if isinstance(result, TrafficResult):
        budget = result.latency_budget_us
        return {**common, "traffic": traffic_record(result.traffic), "latency_budget_us": budget, "peers": {}}
    return {
        **common,
        "instructions": result.instructions,
        "instructions_per_mac": result.instructions_per_mac,
        "stack_bytes": result.stack_bytes,
        "latency_budget_us": result.latency_budget_us,
        "steps": [
            {
                "name": step.name,
                "kind": step.kind,
                "macs": step.macs,
                "instructions": step.instructions,
                "instructions_per_mac": step.per_mac,
                "least_cycles": step.least_cycles,
                "most_cycles": step.most_cycles,
            }
            for step in result.steps
        ],
        "peers": {},
    }


def zoo_record(entries: Sequence[ZooEntry]) -> Record:
    """`zoo list --json`."""
    return {
        "networks": [
            {
                "name": entry.name,
                "title": entry.title,
                "paper": entry.paper,
                "input": list(entry.input.shape),
                "macs": entry.macs,
                "parameters": entry.parameters,
            }
            for entry in entries
        ]
    }


def targets_record(targets: Sequence[Target]) -> Record:
    """`targets list --json`."""
    return {"targets": [target_record(target) for target in targets]}


def target_record(target: Target) -> Record:
    """`targets show --json`."""
    from dscompile.artifact.board_json import memories_to_json
    from dscompile.artifact.target_json import hardware_to_json

    return {
        **hardware_to_json(target),
        "float_unit": target.board.float_unit if target.board else None,
        "memories": memories_to_json(target.board) if target.board else [],
    }


def _network(network: Network) -> Record:
    return {
        "name": network.name,
        "inputs": [_tensor(network.tensor(name)) for name in network.user_inputs],
        "outputs": [_tensor(network.tensor(name)) for name in network.user_outputs],
        **({"states": [_tensor(network.tensor(state.name)) for state in network.states]} if network.states else {}),
    }


def _tensor(tensor: Tensor) -> Record:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.border_shape),
        "layout": tensor.border if len(tensor.shape) == 4 else None,
    }


def _arena(arena: ArenaMap) -> Record:
    from dscompile.report.memories import split_record

    return {
        "size_bytes": arena.size_bytes,
        "lower_bound_bytes": arena.lower_bound_bytes,
        "peak_step": arena.peak_step,
        "memories": split_record(arena.split, arena.weights),
        "buffers": [
            {
                "name": buffer.name,
                "offset_bytes": buffer.offset_bytes,
                "size_bytes": buffer.size_bytes,
                "first": buffer.first,
                "last": buffer.last,
                "region": buffer.region or None,
            }
            for buffer in arena.buffers
        ],
        "steps": [{"name": step.name, "live_bytes": step.live_bytes} for step in arena.steps],
    }


def _timing(timing: Timing) -> Record:
    return {
        "median_us": timing.median_us,
        "p95_us": timing.p95_us,
        "min_us": timing.min_us,
        "repeats": timing.repeats,
    }
