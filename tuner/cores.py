"""How many CPU cores this process may use, and how many threads a measurement runs on."""

from __future__ import annotations

import os

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.dispatch import this_machine


def cores() -> int:
    """Number of cores that this process may use; it can be smaller than the machine's."""
    return len(this_machine.usable_processors()) or os.cpu_count() or 1


def thread_count(wanted: int | None) -> int:
    """The number of threads of a CPU measurement: as wanted, else PyTorch's default.

    Raises:
        InvalidInput: the number is below 1 or above the number of cores.
    """
    if wanted is None:
        return this_machine.threads()
    if not 1 <= wanted <= cores():
        raise InvalidInput(
            f"--threads {wanted} must be >= 1 and <= {cores()}, the number of cores here."
        )
    return wanted
