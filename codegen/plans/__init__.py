"""Every plan by name, in the order of preference if nothing was measured."""

from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.plans import (
    cpp,
    fused,
    fused1,
    fused_sm90,
    fused_sm100,
    recurrent,
    segmented,
    segmented_sm90,
    split,
    torch_plan,
)

PLANS: dict[str, Plan] = {
    module.PLAN.name: module.PLAN
    for module in (
        split,
        fused,
        fused1,
        fused_sm90,
        fused_sm100,
        segmented,
        segmented_sm90,
        recurrent,
        cpp,
        torch_plan,
    )
}
