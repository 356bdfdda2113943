"""TVM's CUDA C++ as people would write it: the same operations in the same order, with names and vector arithmetic.

What changes is only the text: temporaries of single lanes become operators on float4 and int4 (`PREAMBLE` has them),
subexpressions that are repeated get a name, threads and loops are called what they are, and everything is indented and
broken as the project's other generated code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from dscompile.schedule.cuda_syntax import (
    SCALARS,
    VECTORS,
    Assign,
    Binary,
    Call,
    Cast,
    Choice,
    Declare,
    Evaluate,
    Expr,
    For,
    Function,
    If,
    Index,
    Member,
    Name,
    Node,
    Number,
    Parser,
    Raw,
    Statement,
    Token,
    Unary,
    UnknownSyntaxError,
    rewritten,
    tokens_of,
    walk,
    WIDTH,
    written,
)
from dscompile.schedule.cuda_indices import item_of, with_plain_indices

_LANES = "xyzw"
_FLOAT4_OPERATORS, _INT4_OPERATORS = "+-*/", ("+", "-", "*", "<<", ">>", "&", "|")


def _preamble() -> str:
    lines = ["#include <cuda_fp16.h>", "#include <cuda_runtime.h>", "#include <stdint.h>", ""]
    inline = "static __device__ __forceinline__"
    lines.append("/* Vectors: every operation is that of each lane. */")
    for kind, signs in (("float", _FLOAT4_OPERATORS), ("int", _INT4_OPERATORS)):
        four = f"{kind}4"
        lines.append(f"{inline} {four} splat({kind} x) {{ return make_{four}(x, x, x, x); }}")
        for sign in signs:
            values = ", ".join(f"a.{lane} {sign} b.{lane}" for lane in _LANES)
            lines.append(f"{inline} {four} operator{sign}({four} a, {four} b) {{ return make_{four}({values}); }}")
        lines.append(f"{inline} void operator+=({four} &a, {four} b) {{ a = a + b; }}")
        for name in ("max", "min"):
            values = ", ".join(f"{name}(a.{lane}, b.{lane})" for lane in _LANES)
            lines.append(f"{inline} {four} {name}({four} a, {four} b) {{ return make_{four}({values}); }}")
        values = ", ".join(f"({kind})a.{lane}" for lane in _LANES)
        other = "int4" if kind == "float" else "float4"
        lines.append(f"{inline} {four} to_{kind}({other} a) {{ return make_{four}({values}); }}")
        lines.append(f"{inline} {four} load4(const {kind} *from) {{ return *(const {four} *)from; }}")
        lines.append(f"{inline} void store4({kind} *to, {four} value) {{ *({four} *)to = value; }}")
    return "\n".join(lines) + "\n"


PREAMBLE = _preamble()
"""What kernels of a file need before the first of them; `dscompile.schedule.cuda_text.tidied` uses no more than this."""

_TAKEN = frozenset(("splat", "load4", "store4", "to_float", "to_int", "max", "min", "thread", "tile", "slice"))
_POSITIONS = {
    ("threadIdx", "x"): "thread",
    ("threadIdx", "y"): "thread_row",
    ("blockIdx", "x"): "tile",
    ("blockIdx", "y"): "slice",
}


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
    types = _Types(function)
    body = _everywhere(function.body, lambda expression: rewritten(expression, types.without_reinterpretation))
    body = _with_vectors(body, types)
    body = _without_temporaries(body)
    body = _everywhere(body, lambda expression: rewritten(expression, types.spelled))
    body = with_plain_indices(_with_stores(_with_defaults(body)), _threads(function))
    body = _with_shared_values(body, types)
    return _text(function, body)


_Change = Callable[[Expr], Expr]


def _expressions(statement: Statement) -> Iterator[Expr]:
    """The expressions of a statement itself, not of what it contains."""
    match statement:
        case Declare(size=size, value=value):
            yield from (e for e in (size, value) if e is not None)
        case Assign(target, value):
            yield from (target, value)
        case Evaluate(value):
            yield value
        case For(begin=begin, end=end):
            yield from (begin, end)
        case If(condition):
            yield condition


def _bodies(statement: Statement) -> tuple[tuple[Statement, ...], ...]:
    match statement:
        case For(body=body):
            return (body,)
        case If(then=then, otherwise=otherwise):
            return (then, otherwise)
    return ()


def _with_bodies(statement: Statement, bodies: Sequence[Sequence[Statement]]) -> Statement:
    match statement:
        case For():
            return replace(statement, body=tuple(bodies[0]))
        case If():
            return replace(statement, then=tuple(bodies[0]), otherwise=tuple(bodies[1]))
    return statement


def _mapped(statement: Statement, change: _Change) -> Statement:
    """A statement with `change` of each of its own expressions."""
    match statement:
        case Declare(size=size, value=value):
            return replace(statement, size=size and change(size), value=value and change(value))
        case Assign(target, value):
            return replace(statement, target=change(target), value=change(value))
        case Evaluate(value):
            return Evaluate(change(value))
        case For(begin=begin, end=end):
            return replace(statement, begin=change(begin), end=change(end))
        case If(condition):
            return replace(statement, condition=change(condition))
    return statement


def _everywhere(statements: Sequence[Statement], change: _Change) -> tuple[Statement, ...]:
    """All expressions, of nested statements too."""
    return tuple(
        _with_bodies(_mapped(s, change), [_everywhere(body, change) for body in _bodies(s)]) for s in statements
    )


def _all(statements: Sequence[Statement]) -> Iterator[Statement]:
    for statement in statements:
        yield statement
        for body in _bodies(statement):
            yield from _all(body)


def _names(statements: Sequence[Statement]) -> Counter[str]:
    """How often every name is used, in whatever way."""
    found: Counter[str] = Counter()
    for statement in _all(statements):
        if isinstance(statement, Raw):
            found.update(token.text for token in statement.tokens)
        for expression in _expressions(statement):
            found.update(node.name for node in walk(expression) if isinstance(node, Name))
    return found



# Types


_RESULTS = {
    "nearbyintf": "float", "rintf": "float", "floorf": "float", "expf": "float", "fmaf": "float", "__fmaf_rn": "float",
    "__fmul_rn": "float", "__fadd_rn": "float", "__int_as_float": "float", "__float_as_int": "int", "__dp4a": "int",
    "__float2int_rn": "int", "__mulhi": "int", "to_float": "float4", "to_int": "int4",
}  # fmt: skip
_BITS = {("int *", "float"): "__float_as_int", ("float *", "int"): "__int_as_float"}
_FOUR = {"float": "float4", "int": "int4"}


class _Types:
    """What variables are; those of arrays and pointers end in " *"."""

    def __init__(self, function: Function) -> None:
        self._known: dict[str, str] = {name: "int" for name in _POSITIONS.values()}
        for parameter in function.parameters:
            kind = next((word for word in parameter.words if word in SCALARS | VECTORS), "")
            self._known[parameter.name] = kind + (" *" if "*" in parameter.words else "")
        for statement in _all(function.body):
            if isinstance(statement, Declare):
                self._known[statement.name] = statement.type + (" *" if statement.size is not None else "")
            elif isinstance(statement, For):
                self._known[statement.variable] = "int"

    def add(self, name: str, kind: str) -> None:
        """A new variable."""
        self._known[name] = kind

    def of(self, expression: Expr) -> str | None:
        """The type of an expression, where that is certain."""
        match expression:
            case Name(name):
                return self._known.get(name)
            case Number(text):
                if text.isdecimal():
                    return "int"
                return "float" if text[-1] in "fF" and ("." in text or "p" in text) else None
            case Unary("-", operand):
                return self.of(operand)
            case Cast(kind, _):
                return kind
            case Index(array, _):
                kind = self.of(array) or ""
                return kind[:-2] if kind.endswith(" *") else None
            case Member(whole, _):
                kind = self.of(whole) or ""
                return kind[:-1] if kind in VECTORS else None
            case Call("load4" | "splat" | "make_float4" | "make_int4" as name, arguments):
                if name.startswith("make_"):
                    return name[5:]
                return _FOUR.get((self.of(arguments[0]) or "").removesuffix(" *"))
            case Unary("&", operand):
                return f"{self.of(operand)} *"
            case Call(name, arguments):
                return self._agreed(*arguments) if name in ("max", "min") else _RESULTS.get(name)
            case Binary(sign, left, right) if sign in ("+", "-", "*", "/", "%", "<<", ">>", "&", "|"):
                return self._agreed(left, right)
        return None

    def _agreed(self, *expressions: Expr) -> str | None:
        kinds = {self.of(expression) for expression in expressions}
        kind = kinds.pop()
        return kind if not kinds and kind in ("int", "float", "int64_t", "int4", "float4") else None

    def without_reinterpretation(self, node: Expr) -> Expr:
        """*(int *)(&x) of a float x as __float_as_int(x), and the other way."""
        match node:
            case Unary("*", Cast(kind, Unary("&", inner))):
                function = _BITS.get((kind, self.of(inner) or ""))
                return Call(function, (inner,)) if function else node
        return node

    def spelled(self, node: Expr) -> Expr:
        """Positions by their names, vectors in memory and vectors of equal lanes by the functions of the preamble."""
        match node:
            case Cast("int", Member(Name(place), axis)) if (place, axis) in _POSITIONS:
                return Name(_POSITIONS[place, axis])
            case Unary("*", Cast("float4 *" | "int4 *" as kind, where)):
                base, at = (where.left, where.right) if isinstance(where, Binary) else (where, Number("0"))
                if self.of(base) != f"{kind[:-3]} *" or (isinstance(where, Binary) and where.sign != "+"):
                    return node
                return Call("load4", (base if at == Number("0") else Unary("&", Index(base, at)),))
            case Call("make_float4" | "make_int4" as function, arguments):
                if len(set(arguments)) == 1 and self.of(arguments[0]) == function[5:-1]:
                    return Call("splat", arguments[:1])
        return node


# Temporaries


def _with_vectors(statements: Sequence[Statement], types: _Types) -> tuple[Statement, ...]:
    """Vectors that are computed lane by lane, computed at once."""
    done: list[Statement] = []
    opened: dict[str, tuple[Declare, list[Assign]]] = {}

    def give_up() -> None:
        for declaration, lanes in opened.values():
            done.extend((declaration, *lanes))
        opened.clear()

    for statement in statements:
        if isinstance(statement, Declare) and not statement.words and statement.size is None:
            if statement.value is None and statement.type in ("float4", "int4"):
                opened[statement.name] = (statement, [])
            else:
                done.append(statement)
        elif isinstance(statement, Assign) and (name := _lane_owner(statement)) in opened:
            declaration, lanes = opened[name]
            lanes.append(statement)
            if len(lanes) == len(_LANES):
                value = _joined(lanes, declaration.type, types)
                if value is None:
                    give_up()
                else:
                    del opened[name]
                    done.append(replace(declaration, value=value))
        else:
            give_up()
            done.append(_with_bodies(statement, [_with_vectors(body, types) for body in _bodies(statement)]))
    give_up()
    return tuple(done)


def _without_temporaries(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """What is used once and at once becomes part of the expression using it."""
    uses = _names(statements)
    changed = _changed_names(statements)
    single = {name for name, count in uses.items() if count == 1} - changed

    def block(statements: Sequence[Statement]) -> list[Statement]:
        done: list[Statement] = []
        waiting: list[Declare] = []
        for statement in statements:
            if isinstance(statement, Declare) and statement.size is None and statement.value is not None:
                waiting.append(statement)
                continue
            statement = _with_bodies(statement, [block(body) for body in _bodies(statement)])
            statement, kept = _consumed(statement, waiting, single)
            done += [replace(k, words=() if k.name in changed else ("const",)) for k in kept]
            done.append(statement)
            waiting = []
        return [*done, *waiting]

    return tuple(block(statements))


def _with_defaults(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """A variable that one branch sets to a constant begins as that constant."""
    done: list[Statement] = []
    for statement in statements:
        statement = _with_bodies(statement, [_with_defaults(body) for body in _bodies(statement)])
        match (done[-1] if done else None, statement):
            case (
                Declare(name=declared, size=None, value=None) as variable,
                If(then=then, otherwise=(Assign(Name(name), Number() | Call("splat", (Number(),)) as value, "="),)),
            ) if name == declared and not any(isinstance(s, Raw) for s in _all(then)):
                done[-1] = replace(variable, value=value)
                done.append(replace(statement, otherwise=()))
            case _:
                done.append(statement)
    return tuple(done)


def _nodes(statements: Sequence[Statement]) -> Iterator[Expr]:
    for statement in _all(statements):
        for expression in _expressions(statement):
            yield from walk(expression)


def _changed(statement: Assign | Raw) -> set[str]:
    """Names of what a statement may write."""
    if isinstance(statement, Raw):
        return {token.text for token in statement.tokens}
    target = statement.target
    while not isinstance(target, Name):
        match target:
            case Index(array, _):
                target = array
            case Member(whole, _):
                target = whole
            case Unary("*" | "&", inner) | Cast(_, inner) | Binary("+", inner, _) | Call("load4", (inner,)):
                target = inner
            case _:
                return {node.name for node in walk(target) if isinstance(node, Name)}
    return {target.name}


def _changed_names(statements: Sequence[Statement]) -> set[str]:
    """Names of all that is not only read."""
    changed = {name for s in _all(statements) if isinstance(s, Assign | Raw) for name in _changed(s)}
    for node in _nodes(statements):
        match node:
            case Call("load4"):
                continue
            case Call(function, (target, *_)) if function not in _PURE_CALLS:
                changed |= {part.name for part in walk(target) if isinstance(part, Name)}
            case Unary("&", Name(name)):
                changed.add(name)
    return changed


def _lane_owner(statement: Assign) -> str:
    match statement:
        case Assign(Member(Name(name), _), _, "="):
            return name
    return ""


def _joined(lanes: Sequence[Assign], kind: str, types: _Types) -> Expr | None:
    """The vector whose lanes are assigned, if each is the same function of the same lane of other vectors."""
    wholes = set()
    for lane, statement in zip(_LANES, lanes, strict=True):
        if not isinstance(statement.target, Member) or statement.target.name != lane:
            return None
        wholes.add(_whole(statement.value, lane, types))
    whole = wholes.pop()
    return whole if not wholes and whole is not None and types.of(whole) == kind else None


def _whole(expression: Expr, lane: str, types: _Types) -> Expr | None:
    """The vector of which an expression is one lane."""
    match expression:
        case Member(whole, name) if name == lane and types.of(whole) in ("float4", "int4"):
            return whole
        case Number() if types.of(expression) in _FOUR:
            return Call("splat", (expression,))
        case Cast("float" | "int" as kind, inner):
            whole = _whole(inner, lane, types)
            other = {"float": "int4", "int": "float4"}[kind]
            return Call(f"to_{kind}", (whole,)) if whole is not None and types.of(whole) == other else None
        case Binary(sign, left, right):
            a, b = _whole(left, lane, types), _whole(right, lane, types)
            if a is None or b is None or (kind := types.of(a)) != types.of(b):
                return None
            known = {"float4": _FLOAT4_OPERATORS, "int4": _INT4_OPERATORS}.get(kind or "", ())
            return Binary(sign, a, b) if sign in known else None
        case Call("max" | "min" as function, (left, right)):
            a, b = _whole(left, lane, types), _whole(right, lane, types)
            return Call(function, (a, b)) if a is not None and b is not None and types.of(a) == types.of(b) else None
    return None


def _consumed(
    statement: Statement, waiting: Sequence[Declare], single: Collection[str]
) -> tuple[Statement, list[Declare]]:
    """A statement with the values of temporaries that nothing else uses, and those that have to stand before it."""
    values: dict[str, Expr] = {}
    kept: list[Declare] = []

    def valued(expression: Expr) -> Expr:
        return rewritten(expression, lambda node: values.get(node.name, node) if isinstance(node, Name) else node)

    own = () if isinstance(statement, For) else tuple(_expressions(statement))
    for index, declaration in enumerate(waiting):
        later = [d.value for d in waiting[index + 1 :] if d.value is not None]
        near = {n.name for e in (*later, *own) for n in walk(e) if isinstance(n, Name)}
        value = valued(declaration.value) if declaration.value is not None else None
        if declaration.name in single and declaration.name in near and value is not None:
            values[declaration.name] = value
        else:
            kept.append(replace(declaration, value=value))
    return (statement if isinstance(statement, For) else _mapped(statement, valued)), kept


def _with_stores(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Assignments to vectors in memory as calls, sums as +=."""
    done: list[Statement] = []
    for statement in statements:
        statement = _with_bodies(statement, [_with_stores(body) for body in _bodies(statement)])
        match statement:
            case Assign(Call("load4", (where,)), value, "="):
                done.append(Evaluate(Call("store4", (where, value))))
            case Assign(target, Binary("+", left, right), "=") if target == left:
                done.append(Assign(target, right, "+="))
            case _:
                done.append(statement)
    return tuple(done)


# Values that are used more than once


_PURE_CALLS = frozenset(("max", "min", "splat", "load4", *_RESULTS))
_LEAST = 2  # operators of a value that gets a name


def _with_shared_values(statements: Sequence[Statement], types: _Types) -> tuple[Statement, ...]:
    """Indices that occur more than once within a block, and values within a statement, get names."""
    return _Sharing(types).block(statements)


class _Sharing:
    def __init__(self, types: _Types) -> None:
        self._types = types
        self._positions = set(_POSITIONS.values())
        self._shared: set[str] = set()
        self._count = 0

    def block(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        """A block, then those within it."""
        done = list(statements)
        declared = {s.name for s in _all(statements) if isinstance(s, Declare)}
        declared |= {s.variable for s in _all(statements) if isinstance(s, For)}
        while (found := self._repeated_index(done, declared)) is not None:
            name = self._named("int")
            self._positions.add(name)
            self._shared.add(name)
            first = next(i for i, s in enumerate(done) if found in set(_nodes([s])))
            done = list(_with_name(done, found, name))
            done.insert(first, Declare("int", name, value=found, words=("const",)))
        inner = [_with_bodies(s, [self.block(body) for body in _bodies(s)]) for s in done]
        return tuple(part for statement in inner for part in self._with_values(statement))

    def _with_values(self, statement: Statement) -> list[Statement]:
        """A statement after declarations of the values that it uses more than once."""
        done = [statement]
        while isinstance(statement, Assign | Evaluate | Declare):
            uses = Counter(
                node for s in done for e in _expressions(s) for node in _unconditional(e) if self._is_value(node)
            )
            found = max((node for node, count in uses.items() if count > 1), key=_operators, default=None)
            if found is None:
                break
            kind = self._types.of(found) or ""
            name = self._named(kind)
            first = next(i for i, s in enumerate(done) if found in set(_nodes([s])))
            done = list(_with_name(done, found, name))
            done.insert(first, Declare(kind, name, value=found, words=("const",)))
        return done

    def _named(self, kind: str) -> str:
        self._count += 1
        name = f"__shared_{kind}_{self._count}"
        self._types.add(name, kind)
        return name

    def _repeated_index(self, statements: Sequence[Statement], declared: Collection[str]) -> Expr | None:
        """The largest index that several statements use, or one of them twice and not only within a block of its own."""
        places: dict[Expr, set[int]] = {}
        twice: set[Expr] = set()
        for place, statement in enumerate(statements):
            for inner in _all([statement]):
                for expression in _expressions(inner):
                    for node in walk(expression):
                        if self._is_index(node, declared):
                            known = places.setdefault(node, set())
                            if place in known and (inner is statement or node in own):
                                twice.add(node)
                            known.add(place)
                if inner is statement:
                    own = {node for expression in _expressions(inner) for node in walk(expression)}
        shared = [node for node, at in places.items() if len(at) > 1 or node in twice]
        return max(shared, key=_operators, default=None)

    def _is_index(self, node: Expr, declared: Collection[str]) -> bool:
        if not isinstance(node, Binary) or self._types.of(node) != "int":
            return False
        names = {part.name for part in walk(node) if isinstance(part, Name)}
        if not all(isinstance(part, Name | Number | Binary) for part in walk(node)) or not names & self._positions:
            return False
        if names & set(declared) or node.sign not in ("/", "%", ">>", "&", "+"):
            return False
        if node.sign == "+":
            parts = {part.sign for part in walk(node) if isinstance(part, Binary)}
            return bool(parts & {"/", "%", ">>", "&"} or names & self._shared) or item_of(node) is not None
        return _operators(node) >= _LEAST or "tile" in names

    def _is_value(self, node: Expr) -> bool:
        if isinstance(node, Name | Number | Index) or _operators(node) < _LEAST:
            return False
        if self._types.of(node) not in ("float", "float4", "int4", "int64_t"):
            return False
        return all(
            isinstance(part, Name | Number | Binary | Index | Cast) or (isinstance(part, Unary) and part.sign == "-")
            or (isinstance(part, Call) and part.function in _PURE_CALLS)
            for part in walk(node)
        )


def _operators(node: Expr) -> int:
    return sum(isinstance(part, Binary | Call | Unary | Choice) for part in walk(node))


def _unconditional(expression: Expr) -> Iterator[Expr]:
    """What is certainly computed."""
    yield expression
    match expression:
        case Choice(condition):
            yield from _unconditional(condition)
        case Binary("&&" | "||", left, _):
            yield from _unconditional(left)
        case _:
            for part in expression:
                yield from _unconditional(part)


def _with_name(statements: Sequence[Statement], value: Expr, name: str) -> tuple[Statement, ...]:
    """Statements with a name in the place of a value."""

    def replaced(expression: Expr) -> Expr:
        return Name(name) if expression == value else expression.map(replaced)

    return _everywhere(statements, replaced)


# Names


_AXES = {
    "ax0": "tile_row", "ax1": "tile_column", "ax2": "quad", "n": "quad", "ax3": "row", "i": "row", "ax4": "column",
    "j": "column", "ax5": "lane", "lane": "lane", "ax6": "tap_row", "r": "tap_row", "ax7": "tap_column",
    "q": "tap_column", "ax8": "step",
}  # fmt: skip
_PARTS_OF_STEP = {"0": "step", "1": "part", "2": "channel"}


def _loop_name(name: str) -> str:
    """What a loop of the definitions of compute/gpu_module.py goes through, by TVM's name of it."""
    if "fused" in name:
        return "round"
    axis, *rest = name.split("_")
    rest = [part for part in rest if part not in ("init", "s")]
    if axis == "ax8":
        return _PARTS_OF_STEP.get(rest[0], "step") if rest else "step"
    return _AXES.get(axis, name)


def _variable_name(statement: Declare, value_names: Mapping[str, str]) -> str:
    if statement.name in value_names:
        return value_names[statement.name]
    if statement.name.startswith("condval"):
        return "value"
    if statement.name.startswith("__shared_int"):
        return _index_name(statement.value)
    if re.fullmatch(r"__\d+|v_|v__\d+|__shared_\w+", statement.name):
        return "value"
    return re.sub(r"_(shared|local)$", "", statement.name.removesuffix("_ptr"))


def _index_name(value: Expr | None) -> str:
    match value:
        case Binary("/" | ">>", Name("tile"), Number()):
            return "tile_row"
        case Binary("%" | "&", Name("tile"), Number()):
            return "tile_column"
        case Binary() if item_of(value) is not None:
            return "item"
    return "index"


def _renamed(function: Function, statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Names that are unique wherever they can be seen."""
    fixed = {p.name for p in function.parameters} | _TAKEN | set(_RESULTS) | set(_POSITIONS.values()) | {function.name}
    counts = Counter(s.name if isinstance(s, Declare) else s.variable for s in _all(statements) if isinstance(s, Declare | For))
    given: dict[str, str] = {}

    def new(old: str, wanted: str, visible: Collection[str]) -> str:
        if counts[old] > 1:
            return old
        places = re.search(r"_(shared|local)_ptr$", old)
        tries = [wanted, f"{wanted}_{places[1]}"] if places else [wanted]
        number = 2
        while tries[0] in visible:
            tries.pop(0)
            if not tries:
                tries.append(f"{wanted}_{number}" if not places else f"{wanted}_{places[1]}_{number}")
                number += 1
        given[old] = tries[0]
        return tries[0]

    def block(statements: Sequence[Statement], visible: set[str]) -> None:
        visible = set(visible)
        for statement in statements:
            if isinstance(statement, Declare):
                visible.add(new(statement.name, _variable_name(statement, {}), visible))
            inner = visible
            if isinstance(statement, For):
                inner = visible | {new(statement.variable, _loop_name(statement.variable), visible)}
            for body in _bodies(statement):
                block(body, inner)

    block(statements, fixed | {name for name, count in counts.items() if count > 1})

    def named(statements: Sequence[Statement]) -> tuple[Statement, ...]:
        done: list[Statement] = []
        for statement in statements:
            if isinstance(statement, Declare):
                statement = replace(statement, name=given.get(statement.name, statement.name))
            elif isinstance(statement, For):
                statement = replace(statement, variable=given.get(statement.variable, statement.variable))
            elif isinstance(statement, Raw):
                statement = Raw(tuple(Token(given.get(t.text, t.text), t.before) for t in statement.tokens))
            done.append(_with_bodies(statement, [named(body) for body in _bodies(statement)]))
        return tuple(done)

    def changed(node: Expr) -> Expr:
        return Name(given.get(node.name, node.name)) if isinstance(node, Name) else node

    return _everywhere(named(statements), lambda expression: rewritten(expression, changed))


# The whole


def _text(function: Function, statements: Sequence[Statement]) -> str:
    used = _names(statements)
    changed = _changed_names(statements)
    parameters = [_parameter(p.words, p.name, p.name in changed) for p in function.parameters]
    lines = _head(function, parameters)
    for place, name in _POSITIONS.items():
        if used[name]:
            lines.append(f"    const int {name} = (int){'.'.join(place)};")
    arrays = [s for s in statements if isinstance(s, Declare) and s.size is not None]
    arrays.sort(key=lambda array: "__shared__" not in array.words)
    rest = [s for s in _renamed(function, [*map(_aligned, arrays), *(s for s in statements if s not in arrays)])]
    lines += written(rest[: len(arrays)])
    return "\n".join([*lines, "", *written(rest[len(arrays) :]), "}"]) + "\n"


def _threads(function: Function) -> int:
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
    """Arrays of plain numbers aligned as the vectors that are read from them."""
    if array.type in VECTORS:
        return replace(array, alignment=0)
    return replace(array, alignment=min(array.alignment, 16))
