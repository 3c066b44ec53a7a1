"""Replaying search strategies over recorded search spaces, without a GPU."""
