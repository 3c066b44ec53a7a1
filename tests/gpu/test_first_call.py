"""The first call of a fresh install on a GPU: verified there, a wrong kernel passed over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.interpreting import interpreting
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.device import target_of
from tests.close import assert_close
from tests.gdn_ops.ops.calls import call, expected
from tests.gpu import planting
from tests.results import Bench

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or interpreting(), reason="needs a GPU and TRITON_INTERPRET=0"
)
ROOT = Path(__file__).parents[2]
PROBLEM = Problem(
    op="decode", H=1, HV=2, K=16, V=16, dtype="fp32", tokens=2, sequences=2,
    initial_state=True, final_state=True,
)  # fmt: skip
LATER = """
import torch, gdn_ops
import gdn_ops.workers.worker_pool as module
from tests.gpu.test_first_call import PROBLEM, arguments
module.WorkerPool = None  # nothing may be verified
o, _ = gdn_ops.fused_recurrent_gated_delta_rule(**arguments())
print(gdn_ops.explain(PROBLEM))
"""


def arguments() -> dict[str, Any]:
    """A decode step on the GPU."""
    given = call(T=1, H=1, HV=2, K=16, V=16)
    return {n: x.cuda() if isinstance(x, torch.Tensor) else x for n, x in given.items()}


def test_a_first_call_is_right_although_the_stored_winner_is_wrong_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(torch.device("cuda", torch.cuda.current_device()))
    bench = Bench(tmp_path / "results.db")
    winner = Variant.of("recurrent", PROBLEM, stages={"recurrent": {"BV": planting.BV}})
    bench.win(PROBLEM, variant=winner, target=target.name, arch=target.arch)
    paths = [str(Path(__file__).parent / "planted"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    for name, value in (
        ("PYTHONPATH", os.pathsep.join(filter(None, paths))),
        ("GDN_RESULTS_DB", str(bench.close())),
        ("GDN_CACHE_DIR", str(tmp_path / "cache")),
        ("GDN_VERIFY", "first"),
    ):
        monkeypatch.setenv(name, value)
    gdn_ops.refresh()
    try:
        assert "not yet on" in str(gdn_ops.explain(PROBLEM))
        with torch.no_grad(), pytest.warns(RuntimeWarning) as caught:
            o, ht = gdn_ops.fused_recurrent_gated_delta_rule(**arguments())
        explanation = gdn_ops.explain(PROBLEM)
    finally:
        gdn_ops.refresh()

    (warned,) = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    assert f"variant {winner.id}" in warned and "passed over" in warned
    assert "wrong: 'five sequences': error 0.1 of ht, bar 2e-05" in warned
    o_ref, ht_ref = expected(call(T=1, H=1, HV=2, K=16, V=16))
    assert ht is not None
    assert_close("o", o_ref, o.cpu(), 1e-5)
    assert_close("final state", ht_ref, ht.cpu(), 1e-5)
    said = str(explanation)
    assert explanation.choice.how == "default" and explanation.variant.plan == "recurrent"
    assert f"at its first use on {target.name} ({target.arch})" in said
    assert f"exact winner {winner.id}" in said and "its check failed 20" in said

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths[2:]))
    later = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", LATER],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert later.returncode == 0, later.stderr
    assert later.stdout.strip() == said
