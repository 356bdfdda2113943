"""The reference: networks evaluated with NumPy, in loops that anyone can check against the formulas.

It shares no code with what it judges: nothing of `passes`, `plan`, `compute` or `schedule` is used here.
"""

from dscompile.oracle.border import from_border, to_border
from dscompile.oracle.execute import run, run_all
from dscompile.oracle.stream import Stream

__all__ = ["Stream", "from_border", "run", "run_all", "to_border"]
