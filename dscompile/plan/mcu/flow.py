"""The order in which a stream makes its rows, simulated: what the generated C does (templates/mcu/stream.j2).

Stage i reads rows of image i and makes rows of image i + 1. The last stage that can make a row always goes first, so
every image but the first has as few rows at a time as its readers need. Before a row is written to a full ring, the
rows that no later window reads are dropped from its front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dscompile.plan.mcu.windows import Axis


@dataclass(frozen=True)
class Link:
    """How a stage goes through the image that it reads; the stage whose image it also reads, row by row (-1: none)."""

    rows: Axis
    residual: int = -1


@dataclass(frozen=True)
class Flow:
    """What a simulation found.

    `rooms`: rows that each image needs room for. `written`: for every row of the result, in order, the first row of
    image 0 that is still needed when it is written. `moved`: how many rows of each image are copied when others are
    dropped.
    """

    rooms: tuple[int, ...]
    written: tuple[int, ...]
    moved: tuple[int, ...]


def simulate(links: Sequence[Link], *, pushed: bool) -> Flow:
    """The flow of the rows of one image, whose rows come one by one (`pushed`) or are all there."""
    count = len(links)
    received = [0] * (count + 1)
    rooms = _rooms(links, pushed=pushed)
    base, moved, written = [0] * count, [0] * count, []
    holders = _holders(links)

    def keep(image: int) -> int:
        return min(received[image], *_needs(links, holders, received, image))

    def make_room(image: int) -> None:
        if received[image] - base[image] == rooms[image]:
            base[image] = keep(image)
            moved[image] += received[image] - base[image]

    source = links[0].rows.size
    for _ in range(source if pushed else 1):
        if pushed:
            make_room(0)
        received[0] = received[0] + 1 if pushed else source
        stage = 0
        while stage >= 0:
            if not _can_make(links[stage].rows, received[stage], received[stage + 1]):
                stage -= 1
                continue
            if stage == count - 1:
                written.append(keep(0))
            else:
                make_room(stage + 1)
            received[stage + 1] += 1
            stage = min(stage + 1, count - 1)
    return Flow(tuple(rooms), tuple(written), tuple(moved))


def _rooms(links: Sequence[Link], *, pushed: bool) -> list[int]:
    """Rows that each image needs: rows are kept as long as some window still needs them."""
    count = len(links)
    received, rooms = [0] * (count + 1), [1] * count
    holders = _holders(links)

    def take(image: int) -> None:
        if image < count:
            kept = min(received[image], *_needs(links, holders, received, image))
            rooms[image] = max(rooms[image], received[image] + 1 - kept)
        received[image] += 1

    source = links[0].rows.size
    for _ in range(source if pushed else 1):
        if pushed:
            take(0)
        else:
            received[0] = rooms[0] = source
        stage = 0
        while stage >= 0:
            if _can_make(links[stage].rows, received[stage], received[stage + 1]):
                take(stage + 1)
                stage = min(stage + 1, count - 1)
            else:
                stage -= 1
    return rooms


def _holders(links: Sequence[Link]) -> dict[int, int]:
    """Image -> the stage that reads it row by row besides the stage of its own number."""
    return {link.residual: stage for stage, link in enumerate(links) if link.residual >= 0}


def _needs(links: Sequence[Link], holders: dict[int, int], received: Sequence[int], image: int) -> list[int]:
    """The first rows of an image that its readers still need."""
    rows = links[image].rows
    needs = [max(0, rows.position(received[image + 1], 0))]
    if image in holders:
        needs.append(received[holders[image] + 1])
    return needs


def _can_make(rows: Axis, received: int, made: int) -> bool:
    last = min(rows.position(made, rows.kernel - 1), rows.size - 1)
    return made < rows.outputs and received > last
