"""Damaged inputs of every kind that a user can hand over, and what the product makes of them.

    python -m tests.fuzz --kind onnx --seed 0 --count 50000

`kinds` says what can be damaged and which commands then read it, `seeds` makes the good inputs, `damage` and its
siblings make bad ones of them, `watch` runs them under limits and judges, `minimize` makes a failing one small.
"""
