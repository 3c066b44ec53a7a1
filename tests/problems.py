"""Problems that tests share, as data."""

from gdn_ops.codegen.problem import Problem

FORWARD = Problem(
    op="forward", H=2, HV=4, K=64, V=64, dtype="fp32", tokens=128, sequences=2, final_state=True
)
DECODE = Problem(
    op="decode", H=2, HV=4, K=64, V=64, dtype="fp32", tokens=2, sequences=2,
    initial_state=True, final_state=True,
)  # fmt: skip
