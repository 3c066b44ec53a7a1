"""What a user does with an installed library: ``python bare_use.py FOLDER INPUTS OUTPUTS``.

It runs in a process in which gdn-ops and its dependencies cannot be imported.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points

BLOCKED = ("gdn_ops", "jinja2", "optuna", "sqlalchemy", "alembic", "rich", "typer", "tests")


class Blocked:
    def find_spec(self, module: str, path: object = None, target: object = None) -> None:
        if module.partition(".")[0] in BLOCKED:
            raise ImportError(f"{module} is blocked")


def main(folder: str, given: str, results: str) -> None:
    sys.meta_path.insert(0, Blocked())  # type: ignore[arg-type]
    sys.path.insert(0, folder)
    import torch

    before = set(sys.modules)
    (entry,) = entry_points(group="gdn_ops.libraries")
    library = entry.load()
    light = len(set(sys.modules) - before)
    inputs = torch.load(given)
    found: dict[str, object] = {"modules at import": light}
    for dtype, call in inputs.items():
        leaves = {name: x.clone().requires_grad_() for name, x in call["prefill"].items()}
        o, state = library.chunk_gated_delta_rule(**leaves, output_final_state=True)
        loaded = sorted(m for m in sys.modules if ".rendered." in m)
        found.setdefault("loaded by the first call", loaded)
        o.backward(call["do"])
        found[dtype] = {"o": o.detach(), "state": state.detach()}
        found[dtype] |= {f"d{name}": x.grad for name, x in leaves.items()}
        o, state = library.fused_recurrent_gated_delta_rule(
            **call["decode"], output_final_state=True
        )
        found[dtype] |= {"decode o": o, "decode state": state}
        packed = {name: x.flatten(0, 1)[None] for name, x in call["prefill"].items()}
        T = call["prefill"]["q"].shape[1]
        o, _ = library.chunk_gated_delta_rule(**packed, cu_seqlens=torch.tensor([0, T, 2 * T]))
        found[dtype]["packed o"] = o
    call = inputs["fp32"]["prefill"]
    torch.manual_seed(0)
    layer = library.layers.GatedDeltaNet(64, expand_v=1, num_heads=16, num_v_heads=32, head_dim=128)
    x = torch.randn(1, 20, 64)
    found["layer"] = {"x": x, "weights": layer.state_dict(), "o": layer(x)[0].detach()}
    refused = {name: x[:, :, :1] for name, x in call.items()}
    try:
        library.chunk_gated_delta_rule(**refused)
    except NotImplementedError as error:
        found["refusal"] = str(error)
    found["explained refusal"] = str(library.explain(**refused))
    compiled = torch.compile(library.chunk_gated_delta_rule, backend="eager", fullgraph=True)
    found["compiled o"] = compiled(**call)[0]
    found["database"] = str(library.explain(**call).choice.winner or "")
    name = library.__name__
    found["operator"] = str(getattr(torch.ops, name).rule)
    found["foreign"] = sorted({m.split(".")[0] for m in sys.modules} & set(BLOCKED))
    importlib.import_module(f"{name}.serving")
    torch.save(found, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
