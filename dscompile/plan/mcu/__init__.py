"""Planning for standalone C: kernels, layouts, requantization, cost estimates, and which layers are streamed."""
