"""Every stage by name; a new kernel is a template, a spec of the same stem, and a line here."""

from gdn_ops.codegen.kernels import (
    gate_cumsum,
    output,
    recurrent,
    solve,
    state,
    torch_chunk,
    torch_recurrent,
    wu,
)
from gdn_ops.codegen.spec import KernelSpec

KERNELS: dict[str, KernelSpec] = {
    spec.name: spec
    for spec in (
        gate_cumsum.SPEC,
        solve.SPEC,
        wu.SPEC,
        state.SPEC,
        output.SPEC,
        recurrent.SPEC,
        torch_chunk.SPEC,
        torch_recurrent.SPEC,
    )
}
