"""The first call of a fresh install on a GPU: verified there, a wrong kernel passed over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.interpreting import interpreting
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.codegen.variant_text import with_short_id
from gdn_ops.dispatch.device import target_of
from gdn_ops.errors import LaunchError
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


class Planted:
    """A machine whose stored winner is wrong on its GPU; ``variant`` is that winner."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.target = target_of(torch.device("cuda", torch.cuda.current_device()))
        bench = Bench(folder / "results.db")
        self.variant = Variant.of("recurrent", PROBLEM, stages={"recurrent": {"BV": planting.BV}})
        bench.win(PROBLEM, variant=self.variant, target=self.target.name, arch=self.target.arch)
        self.paths = [
            str(Path(__file__).parent / "planted"), str(ROOT), os.environ.get("PYTHONPATH", ""),
        ]  # fmt: skip
        for name, value in (
            ("PYTHONPATH", os.pathsep.join(filter(None, self.paths))),
            ("GDN_RESULTS_DB", str(bench.close())),
            ("GDN_CACHE_DIR", str(folder / "cache")),
            ("GDN_VERIFY", "first"),
        ):
            patch.setenv(name, value)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planted]:
    made = Planted(tmp_path, monkeypatch)
    gdn_ops.refresh()
    yield made
    gdn_ops.unfreeze()
    gdn_ops.refresh()


def test_a_frozen_first_call_raises_where_the_stored_winner_is_wrong(planted: Planted) -> None:
    frozen = gdn_ops.freeze()
    for _ in range(2):
        with (
            torch.no_grad(),
            pytest.raises(LaunchError, match=re.escape(f"variant {planted.variant.named}")),
        ):
            gdn_ops.fused_recurrent_gated_delta_rule(**arguments())
    gdn_ops.unfreeze()
    again = gdn_ops.freeze()
    assert again.differences(frozen) == ["failed checks"]
    with torch.no_grad():
        o, _ = gdn_ops.fused_recurrent_gated_delta_rule(**arguments())
    assert_close("o", expected(call(T=1, H=1, HV=2, K=16, V=16))[0], o.cpu(), 1e-5)


def test_a_first_call_is_right_although_the_stored_winner_is_wrong_here(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, winner = planted.target, planted.variant
    assert "not yet on" in str(gdn_ops.explain(PROBLEM))
    with torch.no_grad(), pytest.warns(RuntimeWarning) as caught:
        o, ht = gdn_ops.fused_recurrent_gated_delta_rule(**arguments())
    explanation = gdn_ops.explain(PROBLEM)

    (warned,) = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    assert f"variant {with_short_id(str(winner), winner.id)}" in warned
    assert "passed over" in warned
    assert "wrong: 'five sequences': error 0.1 of ht, bar 2e-05" in warned
    o_ref, ht_ref = expected(call(T=1, H=1, HV=2, K=16, V=16))
    assert ht is not None
    assert_close("o", o_ref, o.cpu(), 1e-5)
    assert_close("final state", ht_ref, ht.cpu(), 1e-5)
    said = str(explanation)
    assert explanation.choice.how == "default" and explanation.variant.plan == "recurrent"
    assert f"at its first use on {target.name} ({target.arch})" in said
    assert f"exact winner {winner.named}" in said and "its check failed 20" in said

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(planted.paths[2:]))
    later = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", LATER],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert later.returncode == 0, later.stderr
    assert later.stdout.strip() == said
