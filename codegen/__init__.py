"""Problem to source and resources; knows Triton and Jinja, no torch."""
