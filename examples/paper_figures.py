"""The two speed figures of the papers, measured on this device.

    python examples/paper_figures.py --out figures
    python examples/paper_figures.py --out figures --device cuda:0 --width 2048 --layers 24

Speed-up: the chunkwise over the recurrent form of the gated delta rule, forward, by sequence length
and head dim, at a constant number of tokens and channels (after a figure of arXiv 2406.06484).
The recurrent form is plan `recurrent` on a GPU, and a loop over the tokens in PyTorch on a CPU.

Throughput: training of small language models, forward and backward, in thousands of tokens per
second by sequence length at a constant number of tokens (after arXiv 2406.06484 and 2412.06464):
Gated DeltaNet, DeltaNet, Mamba-2, GLA, a Transformer, and the hybrids of both papers. All mixers of
a length take turns, so that what slows the machine down slows all of them alike.

Writes figures.html (plots), figures.md (tables) and figures.json (every sample) to --out.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from rich.console import Console
from rich.table import Table

from gdn_ops import chunk_gated_delta_rule, using
from gdn_ops.models import HybridConfig, HybridLanguageModel
from gdn_ops.reference.recurrent import recurrent_reference
from gdn_ops.tuner.measure.fingerprint import cpu_model

MODELS = {
    "Transformer": ("attention", "#999999", "dot"),
    "GLA": ("gla", "#56b4e9", "solid"),
    "Mamba-2": ("mamba2", "#d55e00", "solid"),
    "DeltaNet": ("deltanet", "#0072b2", "solid"),
    "Gated DeltaNet": ("gdn", "#009e73", "solid"),
    "DeltaNet + SWA": ("deltanet-swa", "#0072b2", "dash"),
    "DeltaNet + attention": ("deltanet-attention", "#0072b2", "dot"),
    "H1 (GDN + SWA)": ("H1", "#cc79a7", "dash"),
    "H2 (Mamba2 + GDN + SWA)": ("H2", "#e69f00", "dash"),
}
"""Pattern of the stack, colour and line style of each model."""

COLOURS = {64: "#0072b2", 128: "#009e73", 256: "#d55e00"}
VOCAB = 512

Samples = dict[str, dict[int, list[float]]]
"""Seconds by line of a plot and by sequence length."""


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def in_turns(
    calls: Mapping[str, Callable[[], object]], device: torch.device, rounds: int
) -> dict[str, list[float]]:
    """Time calls in turn, after one call of each that compiles and allocates."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        timed(call, device)
    for _ in range(rounds):
        for name, call in calls.items():
            samples[name].append(timed(call, device))
    return samples


def both_forms(length: int, dim: int, args: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """The chunkwise and the recurrent form at one length and head dim."""
    sequences, heads = args.tokens // length, max(1, args.width // dim)
    make = torch.Generator().manual_seed(length + dim)
    shape = (sequences, length, heads)
    q, k, v = (torch.randn(*shape, dim, generator=make) for _ in range(3))
    g, beta = -0.1 * torch.rand(shape, generator=make), torch.rand(shape, generator=make)
    k = F.normalize(k, dim=-1)
    q, k, v = (x.to(args.device, args.dtype) for x in (q, k, v))
    g, beta = g.to(args.device), beta.to(args.device)

    def recurrent() -> object:
        if args.device.type != "cuda":
            return recurrent_reference(q, k, v, g, beta)
        with using("recurrent"):
            return chunk_gated_delta_rule(q, k, v, g, beta)

    return {"chunkwise": lambda: chunk_gated_delta_rule(q, k, v, g, beta), "recurrent": recurrent}


@torch.no_grad()
def speed_ups(args: argparse.Namespace, console: Console) -> tuple[Samples, Samples]:
    """The seconds of the chunkwise and of the recurrent form, by head dim and length."""
    chunkwise, recurrent = Samples(), Samples()
    for dim in args.dims:
        for length in args.lengths:
            found = in_turns(both_forms(length, dim, args), args.device, args.rounds)
            chunkwise.setdefault(f"head dim {dim}", {})[length] = found["chunkwise"]
            recurrent.setdefault(f"head dim {dim}", {})[length] = found["recurrent"]
            ratio = median(found["recurrent"]) / median(found["chunkwise"])
            console.print(f"head dim {dim}  {length} tokens: {ratio:.1f}x", highlight=False)
    return chunkwise, recurrent


def training_step(pattern: str, length: int, args: argparse.Namespace) -> Callable[[], object]:
    """One forward and backward pass of a model over the tokens in sequences of a length."""
    torch.manual_seed(0)
    config = HybridConfig(
        pattern=pattern,
        vocab_size=VOCAB,
        hidden_size=args.width,
        num_layers=args.layers,
        num_heads=max(1, args.width // args.head_dim),
        head_dim=args.head_dim,
        window_size=min(args.window, length),
    )
    model = HybridLanguageModel(config).to(args.device, args.dtype)
    tokens = torch.randint(VOCAB, (args.tokens // length, length + 1)).to(args.device)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        logits, _ = model(tokens[:, :-1])
        F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten()).backward()

    return step


def throughputs(args: argparse.Namespace, console: Console) -> Samples:
    """The seconds of a training step of each model, by length."""
    samples = Samples()
    for length in args.lengths:
        steps = {name: training_step(MODELS[name][0], length, args) for name in args.models}
        for name, seconds in in_turns(steps, args.device, args.rounds).items():
            samples.setdefault(name, {})[length] = seconds
            rate = args.tokens / median(seconds) / 1e3
            console.print(f"{name}  {length} tokens: {rate:.2f} Kt/s", highlight=False)
        gc.collect()
    return samples


def figure(ratios: Mapping[str, Mapping[int, float]], rates: Mapping[str, Mapping[int, float]],
           title: str) -> go.Figure:  # fmt: skip
    """Both figures side by side."""
    titles = ("chunkwise over recurrent form", "training throughput")
    fig = make_subplots(rows=1, cols=2, subplot_titles=titles)
    for name, line in ratios.items():
        style = {"color": COLOURS.get(int(name.split()[-1]), "#000000")}
        fig.add_trace(
            go.Scatter(x=list(line), y=list(line.values()), name=name, line=style,
                       legend="legend"), row=1, col=1)  # fmt: skip
    for name, line in rates.items():
        style = {"color": MODELS[name][1], "dash": MODELS[name][2]}
        fig.add_trace(
            go.Scatter(x=list(line), y=list(line.values()), name=name, line=style,
                       legend="legend2"), row=1, col=2)  # fmt: skip
    lengths = sorted({length for line in (*ratios.values(), *rates.values()) for length in line})
    fig.update_xaxes(title_text="tokens per sequence", type="log", tickvals=lengths)
    fig.update_yaxes(title_text="speed-up", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(title_text="thousand tokens per second", rangemode="tozero", row=1, col=2)
    return fig.update_layout(
        template="plotly_white", title=title,
        legend={"x": 0.02, "y": 0.98}, legend2={"x": 1.02, "y": 1.0},
    )  # fmt: skip


def table(title: str, lines: Mapping[str, Mapping[int, float]], digits: int) -> list[list[str]]:
    """The header and a row for each line of a plot."""
    lengths = list(next(iter(lines.values())))
    rows = [[name, *(f"{line[n]:.{digits}f}" for n in lengths)] for name, line in lines.items()]
    return [[title, *(f"{n} tokens" for n in lengths)], *rows]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for figures.html, .md, .json"
    )
    parser.add_argument(
        "--device", default="auto", help="auto (the first GPU, else the CPU), cpu, cuda:0"
    )
    parser.add_argument("--threads", type=int, default=2, help="PyTorch threads (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each point (default: 5)")
    parser.add_argument(
        "--tokens", type=int, default=None, help="tokens of a batch (default: 4096, 65536 on a GPU)"
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=None, help="tokens per sequence")
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128, 256], help="head dims")
    parser.add_argument(
        "--width", type=int, default=None, help="channels (default: 256, 2048 on a GPU)"
    )
    parser.add_argument("--layers", type=int, default=4, help="blocks of a model (default: 4)")
    parser.add_argument("--head-dim", type=int, default=64, help="of the models (default: 64)")
    parser.add_argument("--window", type=int, default=256, help="of sliding-window attention")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    args = parser.parse_args()
    gpu = torch.cuda.is_available()
    args.device = torch.device(
        ("cuda:0" if gpu else "cpu") if args.device == "auto" else args.device
    )
    on_gpu = args.device.type == "cuda"
    args.dtype = torch.bfloat16 if on_gpu else torch.float32
    args.tokens = args.tokens or (65536 if on_gpu else 4096)
    args.width = args.width or (2048 if on_gpu else 256)
    args.lengths = sorted(args.lengths or [args.tokens // n for n in (16, 8, 4, 2, 1)])
    if wrong := [n for n in args.lengths if n < 1 or args.tokens % n]:
        parser.error(f"--lengths {wrong} must divide the {args.tokens} tokens of a batch")
    return args


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def main() -> int:
    args = parse()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    console, start = Console(), time.perf_counter()
    chunkwise, recurrent = speed_ups(args, console)
    steps = throughputs(args, console)
    ratios = {
        name: {n: median(recurrent[name][n]) / median(s) for n, s in line.items()}
        for name, line in chunkwise.items()
    }
    rates = {
        name: {n: args.tokens / median(s) / 1e3 for n, s in line.items()}
        for name, line in steps.items()
    }
    caption = (
        f"{device_name(args.device)}, {str(args.dtype).removeprefix('torch.')}, {args.tokens} "
        f"tokens per batch, {args.width} channels, {args.layers} layers, torch "
        f"{torch.__version__}, {args.threads} threads, medians of {args.rounds} rounds, "
        f"{time.perf_counter() - start:.0f} s in total."
    )
    lines = [caption]
    for rows in (table("speed-up", ratios, 1), table("Kt/s", rates, 2)):
        shown = Table(*rows[0])
        for row in rows[1:]:
            shown.add_row(*row)
        console.print(shown)
        lines += [
            "",
            *(f"| {' | '.join(r)} |" for r in [rows[0], ["---"] * len(rows[0]), *rows[1:]]),
        ]
    console.print(caption, highlight=False)
    (args.out / "figures.md").write_text("\n".join(lines) + "\n")
    samples = {"caption": caption, "chunkwise": chunkwise, "recurrent": recurrent, "steps": steps}
    (args.out / "figures.json").write_text(json.dumps(samples, indent=1) + "\n")
    figure(ratios, rates, caption).write_html(args.out / "figures.html", include_plotlyjs=True)
    console.print(f"wrote {args.out / 'figures.html'}, figures.md and figures.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
