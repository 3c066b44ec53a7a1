"""Writing down what a running model calls, for ``gdn tune``."""

from gdn_ops.record.recorder import RECORDERS as RECORDERS
from gdn_ops.record.recorder import record as record
from gdn_ops.record.recorder import recording as recording

__all__ = ["recording"]
