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
        factorize as factorize,
    )
    from dscompile.api import (
        import_model as import_model,
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
        verify as verify,
    )
    from dscompile.errors import DscompileError as DscompileError


_API = (
    "Model",
    "bench",
    "build",
    "check",
    "factorize",
    "import_model",
    "init",
    "inspect",
    "load",
    "quantize",
    "verify",
)


def __getattr__(name: str) -> object:
    if name in _API:
        from dscompile import api

        return getattr(api, name)
    if name == "DscompileError":
        from dscompile.errors import DscompileError

        return DscompileError
    raise AttributeError(f"module 'dscompile' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_API, "DscompileError"])
