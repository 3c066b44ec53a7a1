"""What ``kernels`` and transformers do with a kernel.

``python hf_use.py VARIANT NAME INPUTS OUTPUTS`` runs in a process in which gdn-ops and its
dependencies cannot be imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

from bare_use import Blocked


def loaded(variant: Path, name: str) -> ModuleType:
    """The module of a variant under a name; ``kernels`` takes the id in its metadata."""
    spec = importlib.util.spec_from_file_location(name, variant / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function(layer: type) -> Any:
    """The forward of a layer, bound to another module as ``kernelize`` does."""
    return MethodType(layer.forward, object())  # type: ignore[attr-defined]


def checks_here(kernel: ModuleType) -> str:
    """Whether a child process can check kernels at their first use, as on a GPU."""
    checks = importlib.import_module(".verify.first_use", kernel.__name__)
    workers = importlib.import_module(".workers.worker_pool", kernel.__name__)
    command = importlib.import_module(".workers.worker_command", kernel.__name__)
    with workers.WorkerPool(1, command=command.worker_command(checks.WORKER)) as pool:
        job = workers.Job(kind="ready", payload={"device": "cpu", "seen": "x"}, timeout=100.0)
        return str(pool.one(job).message)


def main(variant: str, name: str, given: str, results: str) -> None:
    sys.meta_path.insert(0, Blocked())  # type: ignore[arg-type]
    import torch

    kernel = loaded(Path(variant), name)
    chunk = function(kernel.layers.chunk_gated_delta_rule)
    recurrent = function(kernel.layers.recurrent_gated_delta_rule)
    inputs = torch.load(given)
    # as transformers' layers call them, with arguments that the rule does not know
    options = {"output_final_state": True, "use_qk_l2norm_in_kernel": True, "cu_seqlens": None}
    x = {name: value.clone().requires_grad_() for name, value in inputs["prefill"].items()}
    q, k, v, g, beta = (x[name] for name in ("q", "k", "v", "g", "beta"))
    o, state = chunk(q, k, v, g=g, beta=beta, initial_state=None, use_cache=True, **options)
    found: dict[str, object] = {"o": o.detach(), "state": state.detach()}
    try:
        o.sum().backward()
    except NotImplementedError as error:
        found["no gradients"] = str(error)
    q, k, v, g, beta = (inputs["decode"][name] for name in ("q", "k", "v", "g", "beta"))
    step = recurrent(q, k, v, g=g, beta=beta, initial_state=inputs["state"], **options)
    found |= {"decode o": step[0], "decode state": step[1]}
    found["packed o"] = chunk(
        *(x[name].detach().flatten(0, 1)[None] for name in ("q", "k", "v", "g", "beta")),
        use_qk_l2norm_in_kernel=True, cu_seqlens=inputs["cu_seqlens"],
    )[0]  # fmt: skip
    found["child"] = checks_here(kernel)
    found["explained"] = str(kernel.explain(q, k, v.clone().requires_grad_(), g, beta))
    found["foreign"] = sorted({m.split(".")[0] for m in sys.modules} & {"gdn_ops", "jinja2"})
    torch.save(found, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
