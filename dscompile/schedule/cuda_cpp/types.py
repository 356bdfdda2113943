"""Types of expressions, where they are certain, and the names that follow from them."""

from __future__ import annotations

from dscompile.schedule.cuda_cpp.preamble import LANES
from dscompile.schedule.cuda_cpp.tree import (
    SCALARS,
    VECTORS,
    Binary,
    Call,
    Cast,
    Declare,
    Expr,
    For,
    Function,
    Index,
    Member,
    Name,
    Number,
    Unary,
    all_of,
)

POSITIONS = {
    ("threadIdx", "x"): "thread",
    ("threadIdx", "y"): "thread_row",
    ("blockIdx", "x"): "tile",
    ("blockIdx", "y"): "slice",
}


RESULTS = {
    "nearbyintf": "float", "rintf": "float", "floorf": "float", "expf": "float", "fmaf": "float", "__fmaf_rn": "float",
    "__fmul_rn": "float", "__fadd_rn": "float", "__int_as_float": "float", "__float_as_int": "int", "__dp4a": "int",
    "__float2int_rn": "int", "__mulhi": "int", "packed": "int", "to_float": "float4", "to_int": "int4",
}  # fmt: skip
_BITS = {("int *", "float"): "__float_as_int", ("float *", "int"): "__int_as_float"}
_FOUR = {"float": "float4", "int": "int4"}


class Types:
    """What variables are; those of arrays and pointers end in " *"."""

    def __init__(self, function: Function) -> None:
        self._known: dict[str, str] = dict.fromkeys(POSITIONS.values(), "int")
        for parameter in function.parameters:
            kind = next((word for word in parameter.words if word in SCALARS | VECTORS), "")
            self._known[parameter.name] = kind + (" *" if "*" in parameter.words else "")
        for statement in all_of(function.body):
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
            case Call("select", (_, yes, no)):
                return self._agreed(yes, no)
            case Call(name, arguments):
                return self._agreed(*arguments) if name in ("max", "min") else RESULTS.get(name)
            case Binary(sign, left, right) if sign in ("+", "-", "*", "/", "%", "<<", ">>", "&", "|"):
                return self._agreed(left, right)
            case Binary("<" | "<=" | ">" | ">=", left, right) if self._agreed(left, right) in ("float4", "int4"):
                return "ushort4"
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
            case Cast("int", Member(Name(place), axis)) if (place, axis) in POSITIONS:
                return Name(POSITIONS[place, axis])
            case Unary("*", Cast("float4 *" | "int4 *" as kind, where)):
                base, at = (where.left, where.right) if isinstance(where, Binary) else (where, Number("0"))
                if self.of(base) != f"{kind[:-3]} *" or (isinstance(where, Binary) and where.sign != "+"):
                    return node
                return Call("load4", (base if at == Number("0") else Unary("&", Index(base, at)),))
            case Call("make_float4" | "make_int4" as function, arguments):
                if len(set(arguments)) == 1 and self.of(arguments[0]) == function[5:-1]:
                    return Call("splat", arguments[:1])
            case Binary("|", rest, Binary("<<", last, Number("24"))):
                bytes_ = [last]
                for shift in ("16", "8"):
                    match rest:
                        case Binary("|", before, Binary("<<", byte, Number(text))) if text == shift:
                            rest, bytes_ = before, [byte, *bytes_]
                        case _:
                            return node
                integers = [self._byte_source(byte) for byte in (rest, *bytes_)]
                known = tuple(integer for integer in integers if integer is not None)
                return Call("packed", known) if len(known) == len(LANES) else node
        return node

    def _byte_source(self, byte: Expr) -> Expr | None:
        """The int whose lowest eight bits are taken."""
        match byte:
            case Binary("&", Cast("int", Cast("signed char" | "int8_t", inner)) | inner, Number("255")):
                return inner if self.of(inner) == "int" else None
        return None


PURE_CALLS = frozenset(("max", "select", "min", "splat", "load4", *RESULTS))
