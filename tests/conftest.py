"""Kernels run in Triton's interpreter here, which must be chosen before Triton is imported.

``TRITON_INTERPRET=0 pytest tests/gpu`` runs them on a GPU.
"""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("TRITON_INTERPRET", "1")
# the tensors are small: a second thread of a test process would only spin, on a core that
# another test process needs, and that costs five times the CPU time
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a machine that other work shares may stall anywhere, and a stall is no fault of what is tested
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
