"""Kernels run in Triton's interpreter here, which must be chosen before Triton is imported.

``TRITON_INTERPRET=0 pytest tests/gpu`` runs them on a GPU. Tests marked ``exhaustive`` run only if
``-m`` names the mark; ``make exhaustive`` runs them, and more examples of what hypothesis tests.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("TRITON_INTERPRET", "1")
# the tensors are small: a second thread of a test process would only spin, on a core that
# another test process needs, and that costs five times the CPU time
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a machine that other work shares may stall anywhere, and a stall is no fault of what is tested
settings.register_profile(
    "shared", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40
)
settings.register_profile("exhaustive", settings.get_profile("shared"), max_examples=1000)
settings.load_profile("shared")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start long files first; leave the exhaustive tests out unless the command names them."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if "exhaustive" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
