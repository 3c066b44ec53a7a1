"""Every stage by name; a new kernel is a template, a spec of the same stem, and a line here."""

from gdn_ops.codegen.kernels import (
    dgate,
    dlocal,
    dstate,
    gate_cumsum,
    grads,
    output,
    pool_decode,
    recurrent,
    scan,
    solve,
    state,
    torch_backward,
    torch_chunk,
    torch_pool,
    torch_recurrent,
    total,
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
        scan.SPEC,
        dlocal.SPEC,
        dstate.SPEC,
        grads.SPEC,
        dgate.SPEC,
        total.SPEC,
        recurrent.SPEC,
        pool_decode.SPEC,
        torch_backward.SPEC,
        torch_chunk.SPEC,
        torch_recurrent.SPEC,
        torch_pool.SPEC,
    )
}
