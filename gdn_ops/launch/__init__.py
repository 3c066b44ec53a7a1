"""Running a chosen variant: the tensors of a call, packing, launchers and gradients."""
