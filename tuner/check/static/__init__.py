"""The static check: what kernels compile to, against committed baselines; needs no GPU."""
