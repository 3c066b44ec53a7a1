"""A child process that runs the tuner's jobs; see ``gdn_ops.workers.worker``."""

from __future__ import annotations

from gdn_ops.workers.worker import main

JOBS = {
    "compile": "gdn_ops.tuner.workers.offline:run",
    "verify": "gdn_ops.verify.accuracy_gate:run",
    "calm": "gdn_ops.tuner.measure.machine_load:run",
    "describe": "gdn_ops.tuner.measure.description:run",
    "measure": "gdn_ops.tuner.measure.measurement:run",
    "compiler": "gdn_ops.tuner.check.static.compiler:run",
    "figures": "gdn_ops.tuner.check.static.compiling:run",
    "cubin": "gdn_ops.tuner.export.cubins.building:run",
}

if __name__ == "__main__":
    main(JOBS)
