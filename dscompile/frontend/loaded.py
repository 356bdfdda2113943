"""What loading a file gives, whatever its format: the network, and what its author wants beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from dscompile.errors import Position, UnsupportedError
from dscompile.ir.network import Network

if TYPE_CHECKING:  # the reader of net.yaml files is not needed for other formats
    from dscompile.frontend.settings import QuantizationSettings, TargetSettings


@dataclass(frozen=True)
class NetFile:
    """A network as it was found on disk, whatever its format.

    `budgets` are the settings of `targets:` by target name. `positions` tells where each layer stands, for errors
    found later. Without `weights_loaded` the weights have their shapes and types, but no values. `dynamic_range` names
    layers whose int8 weights became float32 (docs/importing.md). `weight_files` are the files beside `path` that its
    weights are from. Unless `is_file`, the network was in memory, and `path` is its name.
    """

    network: Network
    path: Path
    budgets: Mapping[str, TargetSettings] = field(default_factory=lambda: MappingProxyType({}))
    quantization: QuantizationSettings | None = None
    title: str = ""
    paper: str = ""
    version: str = ""
    license: str = ""
    positions: Mapping[str, Position] = field(default_factory=lambda: MappingProxyType({}))
    weights_loaded: bool = True
    dynamic_range: tuple[str, ...] = ()
    weight_files: tuple[Path, ...] = ()
    is_file: bool = True

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the file was read."""
        if not self.dynamic_range:
            return ()
        first, *others = self.dynamic_range
        more = f" and {len(others)} more layers" if others else ""
        return (
            f"'{first}'{more}: int8 weights for float32 activations (dynamic-range quantization), which TFLite "
            "quantizes anew for each inference; here the weights are float32, and so is all arithmetic",
        )

    def require_as_asked(self) -> None:
        """Raises UnsupportedError if the file asks for int8 and its network is float32: that is another network."""
        if self.quantization is not None and not self.network.is_quantized:
            raise UnsupportedError(
                "the file asks for int8, and this network is still float32",
                position=self.quantization.position,
                help="'dscompile quantize' makes the int8 network; without this section the float32 network is built",
            )
