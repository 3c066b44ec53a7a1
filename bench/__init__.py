"""Benchmarks: ratios against a peer measured in the same run. ``python -m bench --help``."""

UNFINISHED = 3
"""Exit status of a command whose time was up; the same command goes on where it stopped."""
