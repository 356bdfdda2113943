"""ONNX models as JSON: the mapping that protobuf itself defines, which Netron reads."""

from __future__ import annotations

from typing import Any


def onnx_json(model: Any) -> bytes:  # noqa: ANN401
    """An onnx.ModelProto as JSON text in UTF-8; the same model gives the same bytes."""
    from google.protobuf import json_format

    text: str = json_format.MessageToJson(model, indent=1, ensure_ascii=False)
    return f"{text}\n".encode()
