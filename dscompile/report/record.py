"""What a command says as JSON."""

from collections.abc import Mapping

Record = Mapping[str, object]
