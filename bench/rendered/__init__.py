"""Comparing the kernels that two revisions render: ``python -m bench.rendered BASE [HEAD]``."""
