"""The comparison with other libraries: the same calls, in turn, in one run, with their errors."""
