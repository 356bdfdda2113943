"""Temporaries of lanes become arithmetic on vectors, and what is used once part of the expression using it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from dscompile.schedule.cuda_cpp.preamble import COMPARISONS, FLOAT4_OPERATORS, INT4_OPERATORS, LANES
from dscompile.schedule.cuda_cpp.tree import (
    Assign,
    Binary,
    Call,
    Cast,
    Choice,
    Declare,
    Evaluate,
    Expr,
    For,
    If,
    Index,
    Member,
    Name,
    Number,
    Raw,
    Statement,
    Unary,
    all_of,
    bodies_of,
    expressions_of,
    mapped,
    names_of,
    nodes_of,
    rewritten,
    walk,
    with_bodies,
)
from dscompile.schedule.cuda_cpp.types import PURE_CALLS, Types


def with_vectors(statements: Sequence[Statement], types: Types) -> tuple[Statement, ...]:
    """Vectors that are computed lane by lane, computed at once."""
    done: list[Statement] = []
    opened: dict[str, tuple[Declare, list[Assign]]] = {}

    def give_up() -> None:
        for declaration, lanes in opened.values():
            done.extend((declaration, *lanes))
        opened.clear()

    for statement in statements:
        if isinstance(statement, Declare) and not statement.words and statement.size is None:
            if statement.value is None and statement.type in ("float4", "int4", "ushort4"):
                opened[statement.name] = (statement, [])
            else:
                done.append(statement)
        elif isinstance(statement, Assign) and (name := _lane_owner(statement)) in opened:
            declaration, lanes = opened[name]
            lanes.append(statement)
            if len(lanes) == len(LANES):
                value = _joined(lanes, declaration.type, types)
                if value is None:
                    give_up()
                else:
                    del opened[name]
                    done.append(replace(declaration, value=value))
        else:
            give_up()
            done.append(with_bodies(statement, [with_vectors(body, types) for body in bodies_of(statement)]))
    give_up()
    return tuple(done)


def without_temporaries(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """What is used once and at once becomes part of the expression using it."""
    uses = names_of(statements)
    changed = changed_names(statements)
    single = {name for name, count in uses.items() if count == 1} - changed

    def block(statements: Sequence[Statement]) -> list[Statement]:
        done: list[Statement] = []
        waiting: list[Declare] = []
        for statement in statements:
            if isinstance(statement, Declare) and statement.size is None and statement.value is not None:
                waiting.append(statement)
                continue
            statement = with_bodies(statement, [block(body) for body in bodies_of(statement)])
            statement, kept = _consumed(statement, waiting, single)
            done += [replace(k, words=() if k.name in changed else ("const",)) for k in kept]
            done.append(statement)
            waiting = []
        return [*done, *waiting]

    return tuple(block(statements))


def with_defaults(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """A variable that one branch sets to a constant begins as that constant."""
    done: list[Statement] = []
    for statement in statements:
        statement = with_bodies(statement, [with_defaults(body) for body in bodies_of(statement)])
        match (done[-1] if done else None, statement):
            case (
                Declare(name=declared, size=None, value=None) as variable,
                If(then=then, otherwise=(Assign(Name(name), Number() | Call("splat", (Number(),)) as value, "="),)),
            ) if name == declared and not any(isinstance(s, Raw) for s in all_of(then)):
                done[-1] = replace(variable, value=value)
                done.append(replace(statement, otherwise=()))
            case _:
                done.append(statement)
    return tuple(done)


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


def changed_names(statements: Sequence[Statement]) -> set[str]:
    """Names of all that is not only read."""
    changed = {name for s in all_of(statements) if isinstance(s, Assign | Raw) for name in _changed(s)}
    for node in nodes_of(statements):
        match node:
            case Call("load4"):
                continue
            case Call(function, (target, *_)) if function not in PURE_CALLS:
                changed |= {part.name for part in walk(target) if isinstance(part, Name)}
            case Unary("&", Name(name)):
                changed.add(name)
    return changed


def _lane_owner(statement: Assign) -> str:
    match statement:
        case Assign(Member(Name(name), _), _, "="):
            return name
    return ""


def _joined(lanes: Sequence[Assign], kind: str, types: Types) -> Expr | None:
    """The vector whose lanes are assigned, if each is the same function of the same lane of other vectors."""
    wholes = set()
    for lane, statement in zip(LANES, lanes, strict=True):
        if not isinstance(statement.target, Member) or statement.target.name != lane:
            return None
        wholes.add(_whole(statement.value, lane, types))
    whole = wholes.pop()
    return whole if not wholes and whole is not None and types.of(whole) == kind else None


def _whole(expression: Expr, lane: str, types: Types) -> Expr | None:
    """The vector of which an expression is one lane."""
    match expression:
        case Member(whole, name) if name == lane and types.of(whole) in ("float4", "int4", "ushort4"):
            return whole
        case Choice(Call("bool", (which,)), yes, no):
            parts = [_whole(part, lane, types) for part in (which, yes, no)]
            known = tuple(part for part in parts if part is not None)
            return Call("select", known) if len(known) == len(parts) and types.of(known[0]) == "ushort4" else None
        case Number() if types.of(expression) in ("float", "int"):
            return Call("splat", (expression,))
        case Cast("float" | "int" as kind, inner):
            vector = _whole(inner, lane, types)
            other = "int4" if kind == "float" else "float4"
            return Call(f"to_{kind}", (vector,)) if vector is not None and types.of(vector) == other else None
        case Binary(sign, left, right):
            a, b = _whole(left, lane, types), _whole(right, lane, types)
            if a is None or b is None or types.of(a) != types.of(b):
                return None
            signs = {"float4": FLOAT4_OPERATORS, "int4": INT4_OPERATORS}.get(types.of(a) or "", ())
            return Binary(sign, a, b) if sign in (*signs, *COMPARISONS) else None
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

    own = () if isinstance(statement, For) else tuple(expressions_of(statement))
    for index, declaration in enumerate(waiting):
        later = [d.value for d in waiting[index + 1 :] if d.value is not None]
        near = {n.name for e in (*later, *own) for n in walk(e) if isinstance(n, Name)}
        value = valued(declaration.value) if declaration.value is not None else None
        if declaration.name in single and declaration.name in near and value is not None:
            values[declaration.name] = value
        else:
            kept.append(replace(declaration, value=value))
    return (statement if isinstance(statement, For) else mapped(statement, valued)), kept


def with_stores(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Assignments to vectors in memory as calls, sums as +=."""
    done: list[Statement] = []
    for statement in statements:
        statement = with_bodies(statement, [with_stores(body) for body in bodies_of(statement)])
        match statement:
            case Assign(Call("load4", (where,)), value, "="):
                done.append(Evaluate(Call("store4", (where, value))))
            case Assign(target, Binary("+", left, right), "=") if target == left:
                done.append(Assign(target, right, "+="))
            case _:
                done.append(statement)
    return tuple(done)
