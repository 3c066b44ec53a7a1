"""Tuning on the GPUs and machines of a Ray cluster."""
