"""Random inputs of problems, distributed like those of a model."""
