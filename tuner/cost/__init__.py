"""The cost model: estimates the time of a variant before anything is timed."""
