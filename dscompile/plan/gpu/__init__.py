"""Planning for CUDA: kernels, what a module holds, tilings, and what they cost."""
