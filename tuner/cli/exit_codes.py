"""Exit codes of every command; ``gdn check`` has more of its own, in ``check.states``."""

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
"""A failure at run time; a wrong command line or input; ended by Ctrl-C or SIGTERM."""
