"""Counting launches, bytes, registers and instructions of kernels without a GPU."""
