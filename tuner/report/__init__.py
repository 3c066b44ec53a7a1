"""Output to the terminal: progress, tables and errors."""
