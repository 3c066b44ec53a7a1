"""The accuracy gate: checks whether the outputs of a variant are right."""
