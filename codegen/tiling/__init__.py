"""How kernels cut heads, chunks and segments into tiles, and how they walk over them."""
