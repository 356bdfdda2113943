"""Post-training quantization: a float32 network and inputs like those it will meet -> an int8 network.

`quantize_network` does all of it. Each step is a module: `lowering`, `calibration` (`histogram`, `ranges`, `ties`),
`headroom`, `equalization`, `conversion` (`kernels`, `stored`), `bias_correction` and `reconstruction`
(`weight_rounding`), both `layerwise`, and `measure`.
"""

from dscompile.quantization.pipeline import quantize_network
from dscompile.quantization.settings import Method, Settings, WeightRounding

__all__ = ["Method", "Settings", "WeightRounding", "quantize_network"]
