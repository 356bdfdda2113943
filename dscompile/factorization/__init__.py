"""Standard convolutions as sums of separable ones: R depthwise filters for each input channel, then a pointwise layer.

`factorize_network` does it all. docs/factorization.md has the mathematics.
"""

from dscompile.factorization.pipeline import Factorized, factorize_network
from dscompile.factorization.settings import Budget

__all__ = ["Budget", "Factorized", "factorize_network"]
