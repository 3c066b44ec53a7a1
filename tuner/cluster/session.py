"""A tuning session on a cluster: checks the request, connects, and lets the coordinator work."""

from __future__ import annotations

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.tuner.cluster.connection import connected
from gdn_ops.tuner.cluster.coordinator import Coordinator, Tuned
from gdn_ops.tuner.cluster.fleet import Fleet, Wanted
from gdn_ops.tuner.cluster.lines import Lines
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.session import Request
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.store import Store

DEVICES = ("auto", "cuda", "cpu")
"""What ``--device`` may be on a cluster, where a GPU has no number."""


def tune_on_cluster(request: Request, *, address: str, target: str | None, lines: Lines) -> Tuned:
    """Run a campaign on the nodes of a Ray cluster.

    Must be called from the main thread, because it handles SIGINT and SIGTERM.

    Args:
        request: its device is ``auto``, ``cuda`` or ``cpu``.
        address: of the cluster; see ``connected``.
        target: only devices of this target; None for all.

    Raises:
        InvalidInput: there is no such cluster, a node has another gdn-ops, or none has a device as
            requested.
        ResultsError: the database cannot be opened or written.
    """
    if request.device not in DEVICES:
        raise InvalidInput(
            f"--device {shown(request.device)} cannot be used with --ray, which takes all devices "
            f"of a kind; give one of {', '.join(DEVICES)}."
        )
    if request.threads is not None and request.threads < 1:
        raise InvalidInput(f"--threads {request.threads} must be >= 1.")
    device = "cpu" if request.device == "auto" and (target or "").startswith("cpu") else None
    wanted = Wanted(device=device or request.device, target=target, threads=request.threads)
    interruption = Interruption()
    # Ray handles SIGTERM from its start on, so the session does so after it
    with (
        connected(address) as ray,
        open_database(request.database, create=True) as database,
        interruption.listen(),
    ):
        store = Store(database, warn=lines.note)
        fleet = Fleet(ray, wanted, lines.note)
        try:
            return Coordinator(
                ray, fleet, store, request, lines=lines, interruption=interruption
            ).run()
        finally:
            fleet.close()
