"""TVM's CUDA C++ as people would write it: the same operations in the same order, with names and vector arithmetic.

What changes is only the text: temporaries of single lanes become operators on float4 and int4 (`PREAMBLE` has them),
subexpressions that are repeated get a name, threads and loops are called what they are, and everything is indented and
broken as the project's other generated code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from dscompile.schedule.cuda_cpp.indices import with_plain_indices
from dscompile.schedule.cuda_cpp.names import renamed
from dscompile.schedule.cuda_cpp.parser import Parser, UnknownSyntaxError, tokens_of
from dscompile.schedule.cuda_cpp.preamble import PREAMBLE
from dscompile.schedule.cuda_cpp.sharing import with_shared_values
from dscompile.schedule.cuda_cpp.tree import (
    Declare,
    For,
    Function,
    Statement,
    bodies_of,
    everywhere,
    names_of,
    rewritten,
    with_bodies,
)
from dscompile.schedule.cuda_cpp.types import POSITIONS, Types
from dscompile.schedule.cuda_cpp.vectors import (
    changed_names,
    with_defaults,
    with_stores,
    with_vectors,
    without_temporaries,
)
from dscompile.schedule.cuda_cpp.writer import WIDTH, written

__all__ = ["PREAMBLE", "tidied"]


def tidied(text: str, symbol: str) -> str:
    """The kernel `symbol` alone, as readable text; TVM's `text` itself if it is of no shape known here."""
    tokens = tokens_of(text)
    starts = [i for i, token in enumerate(tokens) if token.text == "extern"]
    if not starts:
        return text
    try:
        function = Parser(tokens[starts[-1] :]).function()
    except UnknownSyntaxError:
        return text
    if function.name != symbol:
        return text
    types = Types(function)
    body = everywhere(function.body, lambda expression: rewritten(expression, types.without_reinterpretation))
    body = with_vectors(body, types)
    body = without_temporaries(body)
    body = everywhere(body, lambda expression: rewritten(expression, types.spelled))
    body = with_plain_indices(with_stores(with_defaults(body)), threads_of(function))
    body = with_shared_values(body, types)
    return _text(function, body)


def _text(function: Function, statements: Sequence[Statement]) -> str:
    used = names_of(statements)
    changed = changed_names(statements)
    parameters = [_parameter(p.words, p.name, p.name in changed) for p in function.parameters]
    lines = _head(function, parameters)
    for place, name in POSITIONS.items():
        if used[name]:
            lines.append(f"    const int {name} = (int){'.'.join(place)};")
    arrays = [s for s in statements if isinstance(s, Declare) and s.size is not None]
    arrays.sort(key=lambda array: "__shared__" not in array.words)
    rest = _with_loops_kept(renamed(function, [*map(_aligned, arrays), *(s for s in statements if s not in arrays)]))
    lines += written(rest[: len(arrays)])
    return "\n".join([*lines, "", *written(rest[len(arrays) :]), "}"]) + "\n"


def _with_loops_kept(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Loops over taps that the schedule left as loops stay loops: unrolled, they want more registers than there are."""
    kept: list[Statement] = []
    for statement in statements:
        if isinstance(statement, For) and statement.variable.startswith("tap_") and not statement.pragmas:
            statement = replace(statement, pragmas=("#pragma unroll 1",))
        kept.append(with_bodies(statement, [_with_loops_kept(body) for body in bodies_of(statement)]))
    return tuple(kept)


def threads_of(function: Function) -> int:
    """Threads of a block, from __launch_bounds__; 0 if it is not there."""
    found = re.search(r"__launch_bounds__\((\d+)\)", function.head)
    return int(found[1]) if found else 0


def _parameter(words: Sequence[str], name: str, is_changed: bool) -> str:
    if "*" not in words:
        return " ".join((*words, name))
    kind = " ".join(word for word in words if word not in ("*", "__restrict__", "const"))
    restrict = "__restrict__ " if "__restrict__" in words else ""
    return f"{'' if is_changed else 'const '}{kind} *{restrict}{name}"


def _head(function: Function, parameters: Sequence[str]) -> list[str]:
    lines = [f"{function.head} {function.name}("]
    line = ""
    for index, parameter in enumerate(parameters):
        text = parameter + (")" if index == len(parameters) - 1 else ",")
        if line and len(line) + 1 + len(text) > WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {text}" if line else f"    {text}"
    return [*lines, line, "{"]


def _aligned(array: Declare) -> Declare:
    """Arrays of plain numbers are aligned as the vectors that are read from them; others stay as they are."""
    if array.type in ("float4", "int4"):
        return replace(array, alignment=0)
    return replace(array, alignment=min(array.alignment, 16)) if array.type in ("float", "int") else array
