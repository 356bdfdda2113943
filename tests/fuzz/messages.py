"""Changes of single fields: of protobuf messages (ONNX) and of flatbuffers (TFLite)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError

from tests.fuzz.damage import INTEGERS, damaged_bytes
from tests.fuzz.samples import Sample

FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "y", "/etc/passwd", "../x", "data.bin", "é", "a" * 500, "\x00", "ai.onnx", "SAME_UPPER", "Constant")
_OBJECTS = 4000  # more of a file are not looked at


def damaged_message(rng: Random, sample: Sample) -> Sample:
    """Fields of an ONNX model changed, cleared, repeated, exchanged."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(sample.data)
    except DecodeError:
        return damaged_bytes(rng, sample)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        messages = list(_messages(model))
        with suppress(ValueError, TypeError):  # a value that its field cannot take
            _change_message(rng, rng.choice(messages), messages)
    try:
        return sample.with_data(model.SerializeToString())
    except EncodeError:
        return sample


def _messages(root: Any) -> Iterator[Any]:
    yield root
    for descriptor, value in root.ListFields():
        if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
            for each in value if _is_repeated(descriptor) else (value,):
                yield from _messages(each)


def _is_repeated(descriptor: Any) -> bool:
    return bool(descriptor.is_repeated)


def _change_message(rng: Random, message: Any, messages: list[Any]) -> None:
    present = [descriptor for descriptor, _ in message.ListFields()]
    known = present if present and rng.random() < 0.8 else list(message.DESCRIPTOR.fields)
    descriptor = rng.choice(known)
    name = descriptor.name
    if rng.random() < 0.15:
        message.ClearField(name)
        return
    if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
        # A copy of a message into itself ends the process, so that what is copied is a copy already.
        like = [m for m in messages if m.DESCRIPTOR.full_name == descriptor.message_type.full_name]
        if not _is_repeated(descriptor):
            target = getattr(message, name)
            target.CopyFrom(_copy(rng.choice(like))) if like else target.SetInParent()
            return
        _change_list(
            rng, getattr(message, name), lambda values: values.add().CopyFrom(_copy(rng.choice(like))) if like else None
        )
        return
    value = _scalar(rng, descriptor, messages)
    if not _is_repeated(descriptor):
        old = getattr(message, name)
        if isinstance(old, bytes) and old and rng.random() < 0.5:
            value = old[: rng.randrange(len(old))] if rng.random() < 0.5 else old + old[: rng.choice((1, 4, 8))]
        setattr(message, name, value)
        return
    values = getattr(message, name)
    if len(values) and rng.random() < 0.5:
        values[rng.randrange(len(values))] = value
    else:
        _change_list(rng, values, lambda values: values.append(value))


def _change_list(rng: Random, values: Any, add: Any) -> None:
    match rng.randrange(3):
        case 0 if len(values):
            del values[rng.randrange(len(values))]
        case 1 if len(values) > 1:
            first = rng.randrange(len(values))
            kept = [values[index] for index in range(len(values))]
            kept.append(kept.pop(first))
            copies = [_copy(each) if hasattr(each, "DESCRIPTOR") else each for each in kept]
            del values[:]
            values.extend(copies)
        case _:
            add(values)


def _copy(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def _scalar(rng: Random, descriptor: Any, messages: list[Any]) -> Any:
    kinds = FieldDescriptor
    match descriptor.type:
        case kinds.TYPE_STRING:
            return rng.choice(TEXTS) if rng.random() < 0.3 else _some_text(rng, messages)
        case kinds.TYPE_BYTES:
            return rng.choice((b"", b"\xff", b"SAME_LOWER", b"VALID", bytes(8), bytes(rng.randrange(64))))
        case kinds.TYPE_FLOAT | kinds.TYPE_DOUBLE:
            return rng.choice(FLOATS)
        case kinds.TYPE_INT32 | kinds.TYPE_ENUM:
            return rng.choice([number for number in INTEGERS if -(2**31) <= number < 2**31] + list(range(24)))
        case kinds.TYPE_UINT64:
            return rng.choice(INTEGERS) % 2**64
        case _:
            return rng.choice([number for number in INTEGERS if -(2**63) <= number < 2**63] + list(range(24)))


def _some_text(rng: Random, messages: list[Any]) -> str:
    """A name that the model has already."""
    holder = rng.choice(messages)
    texts = [
        text
        for descriptor, value in holder.ListFields()
        if descriptor.type == FieldDescriptor.TYPE_STRING
        for text in (value if _is_repeated(descriptor) else (value,))
    ]
    return rng.choice(texts) if texts else rng.choice(TEXTS)


def damaged_flatbuffer(rng: Random, sample: Sample) -> Sample:
    """Fields of a TFLite model changed and the model packed again; offsets stay true."""
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(sample.data, 0))
        for _ in range(rng.choice((1, 1, 2, 3, 6))):
            objects = list(_objects(model))[:_OBJECTS]
            _change_object(rng, rng.choice(objects), objects)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return sample.with_data(bytes(builder.Output()))
    except Exception:  # the packer takes no value that does not fit its field
        return damaged_words(rng, sample)


def _objects(root: Any) -> Iterator[Any]:
    yield root
    for value in vars(root).values():
        for each in value if isinstance(value, list) else (value,):
            if hasattr(each, "Pack"):
                yield from _objects(each)


def _change_object(rng: Random, holder: Any, objects: list[Any]) -> None:
    names = [name for name, value in vars(holder).items() if value is not None] or list(vars(holder))
    name = rng.choice(names)
    value = getattr(holder, name)
    number = rng.choice((*INTEGERS[:18], -1, -2, 2**31 - 1, -(2**31))) if rng.random() < 0.6 else rng.randrange(24)
    match value:
        case bool():
            setattr(holder, name, not value)
        case int():
            setattr(holder, name, rng.choice((number, value + 1, value - 1)))
        case float():
            setattr(holder, name, rng.choice(FLOATS))
        case bytes() | str():
            setattr(holder, name, rng.choice((b"", b"x", b"\xff\xfe", b"a" * 300, b"/etc/passwd")))
        case np.ndarray() | list() if len(value):
            setattr(holder, name, _changed_vector(rng, value, number, objects))
        case _:
            setattr(holder, name, None)


def _changed_vector(rng: Random, value: Any, number: int, objects: list[Any]) -> Any:
    items = list(value)
    index = rng.randrange(len(items))
    match rng.randrange(4):
        case 0:
            del items[index]
        case 1:
            items.append(items[index])
        case 2 if hasattr(items[0], "Pack"):
            items[index] = rng.choice([each for each in objects if type(each) is type(items[0])] or items)
        case 2 | 3 if not hasattr(items[0], "Pack"):
            items[index] = number if not isinstance(items[0], float | np.floating) else rng.choice(FLOATS)
        case _:
            items.append(items.pop(index))
    return np.array(items).astype(value.dtype) if isinstance(value, np.ndarray) else items


def damaged_words(rng: Random, sample: Sample) -> Sample:
    """Aligned words changed in place: offsets, lengths, tables of fields and values."""
    data = bytearray(sample.data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        width = rng.choice((2, 4, 4))
        if len(data) < 16:
            break
        limit = len(data) - width
        place = rng.randrange(min(limit, 2000)) if rng.random() < 0.3 else limit - rng.randrange(min(limit, 6000))
        place -= place % width
        old = int.from_bytes(data[place : place + width], "little")
        new = rng.choice(
            (rng.choice(INTEGERS), old + rng.choice((1, -1, 2, 4, -4, 8)), old * 2, rng.randrange(len(data)))
        )
        data[place : place + width] = (new % (1 << 8 * width)).to_bytes(width, "little")
    return sample.with_data(bytes(data))


def lengthened_fields(rng: Random, sample: Sample) -> Sample:
    """A protobuf field nested thousands of times, or with a length beyond the end of the file."""
    match rng.randrange(3):
        case 0:
            inner = b""
            for _ in range(rng.choice((50, 90, 99, 120, 3000))):
                inner = b"\x3a" + _varint(len(inner)) + inner  # ModelProto.graph, and field 7 of whatever is inside
            return sample.with_data(sample.data + inner)
        case 1:
            return sample.with_data(sample.data + b"\x3a" + _varint(rng.choice((2**31 - 1, 2**32, 2**63))))
        case _:
            return sample.with_data(b"\x3a" + _varint(len(sample.data) + 1) + sample.data + struct.pack("<I", 7))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
