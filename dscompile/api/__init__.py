"""The Python API: one function per command, returning result records. Nothing here prints.

Every function raises a `DscompileError` for whatever its caller can do something about (dscompile/errors.py). What a
function needs is imported when it is called: `check` and `inspect` never import tvm.
"""

from dscompile.api.benching import bench
from dscompile.api.building import build, packages_list
from dscompile.api.exporting import ExportResult, export, export_onnx, import_onnx
from dscompile.api.factorizing import FactorizeResult, factorize
from dscompile.api.farm import farm_device, farm_status, farm_tracker
from dscompile.api.machines import targets_best, targets_list, targets_show
from dscompile.api.models import Model, load, run
from dscompile.api.networks import (
    CheckResult,
    ImportResult,
    check,
    import_model,
    import_torch,
    init,
    inspect,
    inspection_page,
    zoo_list,
    zoo_names,
    zoo_show,
    zoo_write,
)
from dscompile.api.quantizing import QuantizeResult, quantize
from dscompile.api.sliding import StreamResult, stream
from dscompile.api.tuning import DEFAULT_TRIALS, TuneResult, tune, tune_report
from dscompile.api.verifying import verify

__all__ = [
    "DEFAULT_TRIALS",
    "CheckResult",
    "ExportResult",
    "FactorizeResult",
    "ImportResult",
    "Model",
    "QuantizeResult",
    "StreamResult",
    "TuneResult",
    "bench",
    "build",
    "check",
    "export",
    "export_onnx",
    "factorize",
    "farm_device",
    "farm_status",
    "farm_tracker",
    "import_model",
    "import_onnx",
    "import_torch",
    "init",
    "inspect",
    "inspection_page",
    "load",
    "packages_list",
    "quantize",
    "run",
    "stream",
    "targets_best",
    "targets_list",
    "targets_show",
    "tune",
    "tune_report",
    "verify",
    "zoo_list",
    "zoo_names",
    "zoo_show",
    "zoo_write",
]
