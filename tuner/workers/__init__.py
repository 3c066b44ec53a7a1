"""Child processes that compile, verify and measure; they may crash."""
