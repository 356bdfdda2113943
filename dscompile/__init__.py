"""Ahead-of-time compiler for depthwise-separable CNNs.

    import dscompile
    model = dscompile.build("net.yaml", target="x86")
    y = model(x)

Importing the package costs nothing: what a function needs is imported when it is called (see dscompile/api.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dscompile.version import __version__ as __version__

if TYPE_CHECKING:
    from dscompile.api import (
        Model as Model,
    )
    from dscompile.api import (
        bench as bench,
    )
    from dscompile.api import (
        build as build,
    )
    from dscompile.api import (
        check as check,
    )
    from dscompile.api import (
        export as export,
    )
    from dscompile.api import (
        export_onnx as export_onnx,
    )
    from dscompile.api import (
        factorize as factorize,
    )
    from dscompile.api import (
        import_model as import_model,
    )
    from dscompile.api import (
        import_onnx as import_onnx,
    )
    from dscompile.api import (
        import_torch as import_torch,
    )
    from dscompile.api import (
        init as init,
    )
    from dscompile.api import (
        inspect as inspect,
    )
    from dscompile.api import (
        load as load,
    )
    from dscompile.api import (
        quantize as quantize,
    )
    from dscompile.api import (
        stream as stream,
    )
    from dscompile.api import (
        tune as tune,
    )
    from dscompile.api import (
        verify as verify,
    )
    from dscompile.errors import DscompileError as DscompileError
    from dscompile.frontend.code_builder import NetworkBuilder as NetworkBuilder
    from dscompile.ir.network import Network as Network


_HOMES = {
    "Model": "dscompile.api",
    "bench": "dscompile.api",
    "build": "dscompile.api",
    "check": "dscompile.api",
    "export": "dscompile.api",
    "export_onnx": "dscompile.api",
    "factorize": "dscompile.api",
    "import_model": "dscompile.api",
    "import_onnx": "dscompile.api",
    "import_torch": "dscompile.api",
    "init": "dscompile.api",
    "inspect": "dscompile.api",
    "load": "dscompile.api",
    "quantize": "dscompile.api",
    "stream": "dscompile.api",
    "tune": "dscompile.api",
    "verify": "dscompile.api",
    "DscompileError": "dscompile.errors",
    "Network": "dscompile.ir.network",
    "NetworkBuilder": "dscompile.frontend.code_builder",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dscompile' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
