"""Running a chosen variant: the tensors of a call, packed sequences, launchers, gradients."""
