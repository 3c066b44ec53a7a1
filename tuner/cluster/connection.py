"""The connection to a Ray cluster. Ray is optional, and only imported here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, shown

ADDRESS = re.compile(r"auto|local|ray://[^\s/]+:\d+|[^\s/:]+:\d+")
ADDRESSES = "auto, local, HOST:PORT or ray://HOST:PORT"
"""The addresses that ``--ray`` takes, in words."""


def ray_module() -> Any:
    """The module ``ray``, of which mypy knows nothing.

    Raises:
        InvalidInput: it is not installed.
    """
    if find_spec("ray") is None:
        raise InvalidInput("--ray needs Ray; install it with: pip install 'gdn-ops[ray]'")
    import_module("ray.util.scheduling_strategies")
    return import_module("ray")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module ``ray``, connected to a cluster inside the block.

    Args:
        address: ``auto`` for the cluster that this machine is part of, ``local`` for a new one of
            this machine alone, ``HOST:PORT`` of a cluster that this machine is part of, or
            ``ray://HOST:PORT`` of the server for clients of any cluster.

    Raises:
        InvalidInput: Ray is not installed, or there is no cluster at the address.
    """
    if not ADDRESS.fullmatch(address):
        raise InvalidInput(f"--ray {shown(address)} is not an address; give {ADDRESSES}.")
    ray = ray_module()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options["include_dashboard"] = False
    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ImportError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInput(
            f"there is no Ray cluster at --ray {address} ({why}); start one with `ray start "
            "--head`, or use --ray local for this machine alone."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def first_line(error: BaseException) -> str:
    """What Ray says of a failure, in one line: the first that is not only the error's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
