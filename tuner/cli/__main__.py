"""``python -m gdn_ops.tuner.cli`` is ``gdn``."""

from gdn_ops.tuner.cli import main

main()
