"""Random inputs of problems, distributed as a model's are."""
