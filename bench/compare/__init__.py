"""The comparison with other libraries: time and error of the same calls, interleaved in one run."""
