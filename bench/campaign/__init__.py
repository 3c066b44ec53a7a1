"""Everything that a machine with a GPU is for, in one command that goes on where it stopped."""
