"""Exporting winners as cubins: sets of compiled kernels, and a loader in C that launches them."""
