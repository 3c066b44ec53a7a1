"""The cost model: what a variant should take, before anything is timed."""
