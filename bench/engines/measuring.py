"""Generating with a model on each implementation in turn."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.engines.contenders import STOCK, Installed, contenders
from bench.interleave import interleaved, ratio
from bench.rows import Row

BAR = 1.5
SIZES: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "initializer_range": 0.05,
}  # fmt: skip
"""Narrow, with three layers of the rule and one of attention; the rule has the real heads."""
EXPERTS: dict[str, Any] = {
    "moe_intermediate_size": 128, "shared_expert_intermediate_size": 128, "num_experts": 8,
    "num_experts_per_tok": 2,
}  # fmt: skip
MODELS = {
    "Qwen3.5": ("Qwen3_5TextConfig", "Qwen3_5ForCausalLM", SIZES),
    "Qwen3-Next": ("Qwen3NextConfig", "Qwen3NextForCausalLM", SIZES | EXPERTS),
}


@dataclass(frozen=True)
class Case:
    """What is measured.

    Args:
        prompt, new: tokens of the prompt, and new tokens.
        kept: whether the allocator keeps freed memory.
        folder: where the exported libraries are.
    """

    model: str
    prompt: int
    new: int
    rounds: int
    threads: int
    folder: Path
    kept: bool


class Moments:
    """A streamer that notes when the first new token is there: wall time and CPU time."""

    def __init__(self) -> None:
        self.found = [_now()]

    def put(self, value: torch.Tensor) -> None:
        # the first value is the prompt
        if len(self.found) < 3:
            self.found.append(_now())

    def end(self) -> None:
        self.found.append(_now())

    def parts(self) -> dict[str, tuple[float, float]]:
        """Wall seconds and CPU seconds of each part."""
        begin, _, first, end = self.found
        spans = {"whole": (begin, end), "first token": (begin, first), "the others": (first, end)}
        return {part: (b[0] - a[0], b[1] - a[1]) for part, (a, b) in spans.items()}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def rows(case: Case) -> list[Row]:
    """Measure one model with every implementation in turn."""
    torch.set_num_threads(case.threads)
    transformers.logging.set_verbosity_error()
    config, model_class, sizes = MODELS[case.model]
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(getattr(transformers, config)(**sizes)).eval()
    prompt = torch.randint(sizes["vocab_size"], (1, case.prompt))
    outputs: dict[str, torch.Tensor] = {}
    moments: dict[str, list[Moments]] = {}

    def generate(name: str, installed: Installed) -> None:
        with torch.no_grad(), installed(model):
            moments.setdefault(name, []).append(Moments())
            tokens = model.generate(
                prompt, max_new_tokens=case.new, min_new_tokens=case.new, do_sample=False,
                pad_token_id=0, streamer=moments[name][-1],
            )  # fmt: skip
        outputs[name] = tokens[0, case.prompt :]

    ways = contenders(case.folder)
    interleaved(
        {name: partial(generate, name, installed) for name, installed in ways.items()},
        rounds=case.rounds,
    )
    parts = {name: [m.parts() for m in found[-case.rounds :]] for name, found in moments.items()}
    found = []
    for name in ways:
        if name != STOCK:
            found += _rows_of(case, name, parts, outputs)
    return found


def _rows_of(
    case: Case,
    name: str,
    parts: dict[str, list[dict[str, tuple[float, float]]]],
    outputs: dict[str, torch.Tensor],
) -> list[Row]:
    detail = {}
    for part in parts[name][0]:
        theirs, ours = ([p[part] for p in parts[n]] for n in (STOCK, name))
        wall, cpu = (ratio([x[i] for x in theirs], [x[i] for x in ours]) for i in (0, 1))
        seconds = [statistics.median(x[1] for x in samples) for samples in (ours, theirs)]
        detail[part] = (
            f"{wall:.3g}x by the clock, {cpu:.3g}x in CPU time ({seconds[0]:.3g} s of "
            f"{seconds[1]:.3g} s)"
        )
    value = ratio(*([p["whole"][0] for p in parts[n]] for n in (STOCK, name)))
    memory = ", memory kept" if case.kept else ""
    what = f"{case.model}, {case.prompt} + {case.new} tokens, {name}{memory}"
    same = int((outputs[name] == outputs[STOCK]).sum())
    return [
        Row(what, value, f"x {STOCK}", BAR, detail=detail),
        Row(f"the same tokens of {name}", same, "tokens", case.new),
    ]
