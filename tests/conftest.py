"""Kernels run in Triton's interpreter here, which must be chosen before Triton is imported.

``TRITON_INTERPRET=0 pytest tests/gpu`` runs them on a GPU.
"""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
