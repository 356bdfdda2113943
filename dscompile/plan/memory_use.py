"""What a program of standalone C streams, for manifests and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dscompile.artifact import StreamingInfo

if TYPE_CHECKING:
    from dscompile.plan.program import Program


def streaming_info(program: Program) -> StreamingInfo | None:
    """How the program trades instructions for memory; None where its planner has no modes."""
    choice = program.memory
    if choice is None:
        return None
    return StreamingInfo(
        choice.mode,
        tuple(step.name for step in program.steps if step.stream is not None),
        program.pushed is not None,
        choice.instructions,
        choice.fastest_instructions,
        choice.proven,
    )
