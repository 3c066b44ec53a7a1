"""Choosing the variant that a call runs on: stored winners, the dispatch mode, the choice."""
