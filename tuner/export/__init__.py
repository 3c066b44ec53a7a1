"""Exporting stored winners: a description of what is exported, and one module per format."""
