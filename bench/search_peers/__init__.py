"""Search strategies of this and other projects, compared on recorded spaces; no GPU is needed."""
