"""Tests, tuning and comparison on a machine with a GPU, in one command that can be resumed."""
