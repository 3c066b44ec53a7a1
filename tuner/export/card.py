"""The text by which a library presents itself: what it is, how to use it, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from gdn_ops._version import __version__
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.rule import Rule
from gdn_ops.tuner.export.description import Description, ExportedWinner
from gdn_ops.tuner.export.library import LICENCE, Names
from gdn_ops.tuner.report.printable import printable

LAYERS = {
    "chunk_gated_delta_rule": "chunk_gated_delta_rule",
    "fused_recurrent_gated_delta_rule": "recurrent_gated_delta_rule",
    "causal_conv1d_fn": "causal_conv1d_fn",
    "causal_conv1d_update": "causal_conv1d_update",
}
"""The layers of a kernel for the Hub, by the name of the function of transformers that they run."""


def winners_table(description: Description) -> list[str]:
    """The winners as the lines of a Markdown table."""
    return [
        "| problem | variant | time | over the reference | from |",
        "|---|---|---|---|---|",
        *map(_row, description.winners),
    ]


def card(description: Description, names: Names, *, backend: str, layers: Sequence[str]) -> str:
    """The card of a kernel for the Hub, in Markdown with the header that the Hub reads.

    Args:
        backend: the kind of device as the Hub names it, e.g. ``cuda``.
        layers: the names of the layers that the kernel has.
    """
    return _CARD.format(
        licence=LICENCE.lower(),
        name=names.distribution,
        target=_plain(f"{description.target.name} ({description.target.arch})"),
        gdn_ops=__version__,
        backend=backend,
        chosen=_chosen(description),
        example=_example(description, backend, layers),
        mapping="\n".join(
            f'    "{function}": {{"{backend}": LocalLayerRepository(path, layer_name="{layer}")}},'
            for function, layer in LAYERS.items()
            if layer in layers
        ),
        winners="\n".join(winners_table(description)),
        environments="\n".join(_environments(description)),
    )


def _chosen(description: Description) -> str:
    """By what the variants were chosen."""
    measured = {winner.winner.provenance == "measured" for winner in description.winners}
    if measured == {True}:
        return "tuned"
    return "chosen by prediction" if measured == {False} else "tuned or chosen by prediction"


def _example(description: Description, backend: str, layers: Sequence[str]) -> str:
    """A call that the kernel serves, with its inputs."""
    prefill = "chunk_gated_delta_rule" in layers
    op = "forward" if prefill else "decode"
    found = (w.problem for w in description.winners)
    problem = next(p for p in found if p.op == op and p.rule == Rule())
    return _INPUTS.format(
        sizes=", ".join(map(str, (1, 256) if prefill else (8, 1))),
        heads=", ".join(str(getattr(problem, name)) for name in ("H", "HV", "K", "V")),
        device="cpu" if backend == "cpu" else "cuda",
        dtype=DTYPES[problem.dtype].torch,
    ) + (_PREFILL if prefill else _DECODE)


_INPUTS = """\
B, T, H, HV, K, V = {sizes}, {heads}
like = {{"device": "{device}", "dtype": {dtype}}}
q, k, v = (torch.randn(B, T, *heads, **like) for heads in ((H, K), (H, K), (HV, V)))
k = torch.nn.functional.normalize(k, dim=-1)
g, beta = -torch.rand(B, T, HV, device="{device}"), torch.rand(B, T, HV, device="{device}")
"""
_PREFILL = """\
o, state = library.chunk_gated_delta_rule(q, k, v, g, beta, output_final_state=True)
print(library.explain(q, k, v, g, beta, output_final_state=True))"""
_DECODE = """\
state = torch.zeros(B, HV, K, V, device=q.device)
step = library.fused_recurrent_gated_delta_rule
given = {"g": g, "beta": beta, "initial_state": state, "output_final_state": True}
o, state = step(q, k, v, **given)  # one token of each sequence
print(library.explain(step, q, k, v, **given))"""


_CARD = """---
library_name: kernels
license: {licence}
tags:
- kernels
- gated-delta-rule
---

# {name}

Kernels of the gated delta rule, {chosen} for {target} and exported by gdn-ops {gdn_ops}.
They need torch and triton, and not gdn-ops.

```python
from pathlib import Path

import torch
from kernels import get_local_kernel

path = Path("{name}")  # this folder
library = get_local_kernel(path, backend="{backend}")
{example}
```

The outputs are scaled by K^-0.5 unless `scale` is given.

In a model of transformers:

```python
from kernels import LocalLayerRepository, Mode, kernelize, use_kernel_mapping

mapping = {{
{mapping}
}}
with use_kernel_mapping(mapping, inherit_mapping=False):
    kernelize(model, mode=Mode.INFERENCE, device="{backend}")
```

A winner serves its heads, head dims and dtype in any size. `measured` is the median of timings on
the device, and `stale` says that the code has changed since then. `predicted` is computed from
compiled code, and nothing was timed.

{winners}

{environments}

The raw samples, the errors against the recurrence in fp64, the hashes of the sources, and the
configs that failed are in `build/torch-{backend}/library.json`. `gdn export verify` compares every
file with its digest in `hf.manifest.json`.
"""


def _row(exported: ExportedWinner) -> str:
    winner = exported.winner
    speedup = "-" if winner.speedup is None else f"{winner.speedup:.2f}x"
    origin = f"{winner.provenance}, stale" if exported.stale else winner.provenance
    return (
        f"| {exported.problem.id()} | {exported.variant} | {winner.median * 1e3:.4g} ms | "
        f"{speedup} | {origin} |"
    )


def _environments(description: Description) -> list[str]:
    """One line per environment in which winners were measured."""
    found = set()
    for winner in description.winners:
        if (e := winner.environment) is not None:
            parts = {"": e.device, "driver ": e.driver, "torch ": e.torch, "Triton ": e.triton}
            parts["ptxas "] = winner.ptxas
            texts = [f"{name}{_plain(text)}" for name, text in parts.items() if text is not None]
            found.add(f"- {', '.join(texts)}")
    return ["Measured on:", "", *sorted(found)] if found else ["Nothing was measured."]


def _plain(text: str) -> str:
    """A text from a database within a line of Markdown."""
    return " ".join(printable(text[:120]).translate(_MARKS).split())


_MARKS = str.maketrans("|`<>[]", "      ")
