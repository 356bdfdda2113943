"""Streams: consecutive steps of a draft that become one, whose rows flow through rings instead of whole tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dscompile.plan.mcu.draft import Draft, PlannedCall, PlannedStep
from dscompile.plan.mcu.flow import Flow, Link, simulate
from dscompile.plan.mcu.row_forms import RowForm, row_form
from dscompile.plan.mcu.storage import Store
from dscompile.plan.program import Operand, Stage, Stream

_COUNTER_BYTES = 4  # two int16_t for each image: rows received, rows dropped


@dataclass(frozen=True)
class Segment:
    """The steps [first, end) of a draft, to be one stream; `pushed`: the user hands over the rows of its image."""

    first: int
    end: int
    pushed: bool = False


@dataclass(frozen=True)
class Row:
    """A step by row: its form, the parameters through which it reads rows, and how it is linked to the other stages."""

    call: PlannedCall
    form: RowForm
    image: str
    residual: str
    link: Link


@dataclass(frozen=True)
class Rows:
    """The stages of a segment, and the order in which they make their rows."""

    stages: tuple[Row, ...]
    flow: Flow

    @property
    def overlap_bytes(self) -> int:
        """How far below its source the result must begin where the two share memory."""
        size, source = self.stages[-1].form.y_row_bytes, self.stages[0].form.x_row_bytes
        return max(0, *((row + 1) * size - kept * source for row, kept in enumerate(self.flow.written)))


def row_forms(draft: Draft) -> tuple[RowForm | None, ...]:
    """The form by row of every step; None for those that have none."""
    return tuple(_form(draft, step) for step in draft.steps)


def _form(draft: Draft, step: PlannedStep) -> RowForm | None:
    if len(step.calls) != 1 or not step.layers[0].inputs:
        return None
    shape = draft.network.shape
    return row_form(step.calls[0].kernel, shape(step.layers[0].inputs[0]), shape(step.layers[-1].output))


def linked_rows(draft: Draft, forms: Sequence[RowForm | None], segment: Segment) -> tuple[Row, ...] | None:
    """The stages of a segment, if its steps can be one stream: each reads what the one before makes, nobody else."""
    stages: list[Row] = []
    images: list[Operand] = []
    for index in range(segment.first, segment.end):
        form, call = forms[index], draft.steps[index].calls[0]
        if form is None:
            return None
        found = _images(call, form, draft.steps[index - 1].result if stages else None)
        if found is None or (stages and not _fits(stages[-1].form, form)):
            return None
        image, residual = found
        images.append(call.operand(image))
        link = Link(form.rows)
        if residual:
            held = call.operand(residual)
            if held not in images or stages_bytes(stages, form, images.index(held)) != form.y_row_bytes:
                return None
            link = Link(form.rows, images.index(held))
        stages.append(Row(call, form, image, residual, link))
    if not all(_is_inner(draft, segment, index) for index in range(segment.first, segment.end - 1)):
        return None
    holders = [stage.link.residual for stage in stages if stage.link.residual >= 0]
    return tuple(stages) if len(set(holders)) == len(holders) else None


def stages_bytes(stages: Sequence[Row], form: RowForm, index: int) -> int:
    """Bytes of a row of the image that stage `index` reads; `form` is that of the stage after `stages`."""
    return (*(stage.form for stage in stages), form)[index].x_row_bytes


def _images(call: PlannedCall, form: RowForm, before: Operand | None) -> tuple[str, str] | None:
    """The parameter that reads what the stage before made (the first stage: any image), and the other one, or ''."""
    names = form.images if len(form.images) == 2 else (form.images[0], "")
    for image, residual in (names, names[::-1]):
        allowed = image == form.images[0] or (form.is_symmetric and image)
        if allowed and (before is None or call.operand(image) == before):
            return image, residual
    return None


def _fits(maker: RowForm, reader: RowForm) -> bool:
    return maker.y_row_bytes == reader.x_row_bytes and maker.rows.outputs == reader.rows.size


def _is_inner(draft: Draft, segment: Segment, index: int) -> bool:
    """Whether only the segment reads what step `index` makes, and there is nothing else in its store."""
    result = draft.steps[index].result
    store = draft.store_of(result) if result.space == "arena" and not result.offset_bytes else None
    if store is None or store.first != index or store.last >= segment.end:
        return False
    return store.size_bytes == draft.steps[index].result_bytes


def rows_of(draft: Draft, forms: Sequence[RowForm | None], segment: Segment) -> Rows | None:
    """The stages of a segment with their flow; None if its steps cannot be one stream."""
    stages = linked_rows(draft, forms, segment)
    if stages is None or (segment.pushed and _pushed_store(draft, stages, segment) is None):
        return None
    return Rows(stages, simulate([stage.link for stage in stages], pushed=segment.pushed))


def _pushed_store(draft: Draft, stages: Sequence[Row], segment: Segment) -> Store | None:
    """The input whose rows the user can push: the network has no other one, and only this stream reads it."""
    source = stages[0].call.operand(stages[0].image)
    if segment.first or source.space != "input" or source.offset_bytes or len(draft.network.user_inputs) != 1:
        return None
    store = draft.store_of(source)
    return store if store is not None and store.last < segment.end else None


def streamed(draft: Draft, segments: Mapping[Segment, Rows]) -> Draft:
    """The draft in which each of the disjoint segments is one step."""
    steps: list[PlannedStep] = []
    places: list[int] = []  # old step -> new step
    stores = dict(draft.stores)
    index = 0
    starts = {segment.first: segment for segment in segments}
    while index < len(draft.steps):
        segment = starts.get(index)
        if segment is None:
            places.append(len(steps))
            steps.append(draft.steps[index])
            index += 1
            continue
        places += [len(steps)] * (segment.end - segment.first)
        steps.append(_merged(draft, segment, segments[segment], stores))
        index = segment.end

    def moved(step: int) -> int:
        return step if step < 0 else places[step] if step < len(places) else step - len(places) + len(steps)

    return replace(
        draft,
        steps=tuple(steps),
        stores={
            name: Store(name, s.size_bytes, moved(s.first), moved(s.last)) if s.last >= s.first else s
            for name, s in stores.items()
        },
    )


def _merged(draft: Draft, segment: Segment, rows: Rows, stores: dict[str, Store]) -> PlannedStep:
    """The step of a segment; `stores` lose its inner tensors and get rings, counters, and one place for all columns."""
    steps = draft.steps[segment.first : segment.end]
    last = steps[-1]
    moves: dict[Operand, Operand] = {}
    stages = []
    for number, (row, room) in enumerate(zip(rows.stages, rows.flow.rooms, strict=True)):
        image = row.call.operand(row.image)
        if number or segment.pushed:
            store = draft.store_of(image)
            assert store is not None
            del stores[store.name]
            name = f"rows:{image.name}"
            moves[image] = Operand("arena", name)
            stores[name] = Store(name, room * row.form.x_row_bytes + row.form.slack_bytes, segment.first, segment.first)
        axis = row.form.rows
        stages.append(
            Stage(
                row.image,
                row.form.x_row_bytes,
                room,
                axis.size,
                axis.outputs,
                axis.kernel,
                axis.stride,
                axis.before,
                axis.dilation,
                row.residual,
                row.link.residual,
            )
        )
    counters = Operand("arena", f"counters:{last.result.name}")
    bytes_ = _COUNTER_BYTES * (len(stages) + 1)
    end = len(draft.steps) if segment.pushed else segment.first  # the next image begins when the last step is done
    stores[counters.name] = Store(counters.name, bytes_, segment.first, end)
    calls = _calls(draft, segment, rows, moves, stores)
    stream = Stream(tuple(stages), rows.stages[-1].form.y_row_bytes, counters, segment.pushed)
    layers = tuple(layer for step in steps for layer in step.layers)
    overlap = None if segment.pushed else rows.overlap_bytes
    return PlannedStep(layers, calls, last.result, last.result_bytes, stream, overlap)


def _calls(
    draft: Draft, segment: Segment, rows: Rows, moves: Mapping[Operand, Operand], stores: dict[str, Store]
) -> tuple[PlannedCall, ...]:
    """The calls by row, with rings for tensors; their columns share one place, since one call runs at a time."""
    columns = [
        row.call.operand(parameter.name)
        for row in rows.stages
        for parameter in row.call.kernel.parameters
        if parameter.name == "columns"
    ]
    room = max((stores[each.name].size_bytes for each in columns), default=0)
    shared = columns[0] if columns else None
    for each in columns:
        del stores[each.name]
    if shared is not None:
        stores[shared.name] = Store(shared.name, room, segment.first, segment.first)
    calls = []
    for row in rows.stages:
        operands = []
        for parameter in row.form.kernel.parameters:
            if parameter.name == "sums":
                name = f"sums:{row.call.operands[-1].name}"
                stores[name] = Store(name, row.form.sums_bytes, segment.first, segment.first)
                operands.append(Operand("arena", name))
                continue
            operand = row.call.operand(parameter.name)
            operands.append(
                shared if parameter.name == "columns" and shared is not None else moves.get(operand, operand)
            )
        calls.append(PlannedCall(row.form.kernel, tuple(operands)))
    return tuple(calls)
