"""Standard convolutions as sums of separable ones: R depthwise filters for each input channel, then a pointwise layer.

`factorize_network` does it all. docs/factorization.md has the mathematics.
"""

from dscompile.factorize.pipeline import Factorized, factorize_network
from dscompile.factorize.settings import Budget

__all__ = ["Budget", "Factorized", "factorize_network"]
