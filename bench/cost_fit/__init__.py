"""Fitting the cost model's constants to what other libraries published."""
