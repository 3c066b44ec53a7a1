"""Benchmarks: ratios against a peer timed in the same run. See ``python -m bench --help``."""

UNFINISHED = 3
"""Exit status of a command that ran out of time; running it again continues where it stopped."""
