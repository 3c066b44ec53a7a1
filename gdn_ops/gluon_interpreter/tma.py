"""``hopper.tma`` of the interpreter, by its names since Triton 3.8."""

from gdn_ops.gluon_interpreter.copies import load as async_load
from gdn_ops.gluon_interpreter.copies import store as async_store
from gdn_ops.gluon_interpreter.copies import wait_for_stores as store_wait

__all__ = ["async_load", "async_store", "store_wait"]
