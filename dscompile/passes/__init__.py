"""Rewrites of networks: from what a model file says to the few forms that the planner and the kernels know.

Every pass is a pure function Network -> Network that keeps the names of the network's inputs and outputs and returns
the very same object when it finds nothing to do. `canonicalize` runs them all. Passes are for float32 networks.
"""

from dscompile.passes.pipeline import canonicalize

__all__ = ["canonicalize"]
