"""Whether two revisions render the same kernels: ``python -m bench.rendered BASE [HEAD]``."""
