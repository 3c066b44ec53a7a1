"""A library for a GPU on the stand-in: ``python -m tests.stand_in MODULE FOLDER NAME``."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import torch

from gdn_ops.reference import gated_delta_rule_reference
from tests.close import assert_close

H, HV, K, V, T = 1, 2, 16, 16, 40


def main(folder: str, package: str) -> None:
    sys.path.insert(0, folder)
    library = importlib.import_module(package)
    torch.manual_seed(0)
    call = {
        "q": torch.randn(1, T, H, K),
        "k": torch.nn.functional.normalize(torch.randn(1, T, H, K), dim=-1),
        "v": torch.randn(1, T, HV, V),
        "g": -torch.rand(1, T, HV),
        "beta": torch.rand(1, T, HV),
    }
    expected = {name: x.double().requires_grad_() for name, x in call.items()}
    o, state = gated_delta_rule_reference(**expected, output_final_state=True)
    o.sum().backward()
    given = {name: x.cuda().requires_grad_() for name, x in call.items()}
    found, found_state = library.chunk_gated_delta_rule(**given, output_final_state=True)
    found.sum().backward()
    assert_close("o", o.detach(), found.detach().cpu(), 1e-4)
    assert_close("state", state.detach(), found_state.detach().cpu(), 1e-4)
    for name, x in given.items():
        assert_close(f"d{name}", expected[name].grad, x.grad.cpu(), 1e-3)
    step = {name: x[:, :1] for name, x in call.items()}
    o, _ = gated_delta_rule_reference(
        **{name: x.double() for name, x in step.items()}, initial_state=state.detach()
    )
    on_gpu: dict[str, Any] = {name: x.cuda() for name, x in step.items()}
    os.environ["GDN_VERIFY"] = "first"  # the prefill and its gradients took enough time
    found, _ = library.fused_recurrent_gated_delta_rule(
        **on_gpu, initial_state=found_state.detach(), output_final_state=True
    )
    assert_close("decode o", o, found.cpu(), 1e-4)
    rendered = {m.rsplit(".", 1)[1].rsplit("_", 1)[0] for m in sys.modules if ".rendered." in m}
    print("kernels", *sorted(rendered))
    print(library.explain(**on_gpu, initial_state=found_state.detach(), output_final_state=True))
    try:
        library.chunk_gated_delta_rule(**{name: x.half() for name, x in on_gpu.items()})
    except library.errors.UnsupportedProblem as error:
        print(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
