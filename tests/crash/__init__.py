"""Commands that are killed, or that the disk refuses, at random moments: `python -m tests.crash` (docs/robustness.md).

What is judged is what is on the disk afterwards, and what the next run of the same command makes of it.
"""
