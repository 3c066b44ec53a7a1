"""Measuring: timers, interleaved sampling, statistics and the environment of a measurement."""
