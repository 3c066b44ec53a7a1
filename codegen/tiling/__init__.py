"""What kernels share to cut heads, chunks and segments into tiles."""
