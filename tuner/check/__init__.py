"""Checks: whether a change made kernels slower or worse, measured and by their compiled code."""
