"""Bare-metal programs: cross compilers, building, sizes and stack use."""
