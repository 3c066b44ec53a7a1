"""What can be counted of our kernels and of flash-linear-attention's without a GPU."""
