"""Child processes that compile, verify and measure, and that may crash."""
