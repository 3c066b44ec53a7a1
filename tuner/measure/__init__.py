"""Measuring: timers, interleaving, statistics and the environment of a measurement."""
