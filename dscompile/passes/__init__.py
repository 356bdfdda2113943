"""Rewrites of networks: from what a model file says to the few forms that the planner and the kernels know.

Every pass is a pure function Network -> Network that keeps the names of the network's inputs and outputs and returns
the very same object when it finds nothing to do. `canonicalize` runs them all. Int8 networks keep every bit of their
results; passes that compute in real numbers leave int8 layers alone.
"""

from dscompile.passes.pipeline import canonicalize

__all__ = ["canonicalize"]
