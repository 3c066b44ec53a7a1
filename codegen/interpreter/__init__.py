"""Fixes for Triton's interpreter: what is wrong in it, and what is slow."""
