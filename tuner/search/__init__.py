"""Search for the fastest variant of a problem, stage by stage."""
