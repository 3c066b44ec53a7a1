"""Train tiny language models on recall tasks, to see what the delta rule is for.

    python examples/recall.py --out recall
    python examples/recall.py --out recall --tune      # sweep the learning rates first

MQAR (multi-query associative recall, arXiv 2312.04927): key-value pairs, then all keys again in
another order; the model must answer each key with its value. Needle (S-NIAH-1 of arXiv 2404.06654):
a repeated sentence hides one value, and the last token asks for it. All models train on the same
data, with sizes that grow up to 16 pairs and 64 tokens; the hybrids, which have more layers, for
four times as many steps, because they converge later. They are tested on new data, also with more
pairs and longer sequences than in training.

The purely recurrent models have one layer with one 16 x 16 state; the hybrids are one period of
those of arXiv 2412.06464. Writes recall.html (the plot) and recall.md (the table) to --out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from recall_tasks import IGNORED, TASKS, VOCAB, Task
from rich.console import Console
from rich.table import Table

from gdn_ops.models import HybridConfig, HybridLanguageModel

Rates = dict[str, dict[str, float]]
"""Learning rates by task and model."""


@dataclass(frozen=True)
class Model:
    """A model, with its colour and line style in the plot.

    Args:
        steps: factor on the number of training steps of a task.
    """

    pattern: str
    layers: int
    colour: str
    dash: str
    steps: int = 1

    def build(self) -> HybridLanguageModel:
        """Build the model; each mixer has one head of 16 channels."""
        config = HybridConfig(
            pattern=self.pattern,
            vocab_size=VOCAB,
            hidden_size=64,
            num_layers=self.layers,
            num_heads=1,
            head_dim=16,
            window_size=4,
            tie_embeddings=True,
        )
        return HybridLanguageModel(config)


MODELS = {
    "SWA": Model("swa", 2, "#999999", "dot"),
    "Mamba2 (gate only)": Model("mamba2", 1, "#d55e00", "solid"),
    "DeltaNet": Model("deltanet", 1, "#0072b2", "solid"),
    "Gated DeltaNet": Model("gdn", 1, "#009e73", "solid"),
    "H1 (GDN + SWA)": Model("H1", 2, "#cc79a7", "dash", steps=4),
    "H2 (Mamba2 + GDN + SWA)": Model("H2", 3, "#e69f00", "dash", steps=4),
}
RATES = (5e-3, 2.5e-3, 1e-2, 2e-2)
"""The rates that --tune tries; in a tie the first one wins."""

TUNED: Rates = {title: dict.fromkeys(MODELS, 5e-3) for title in TASKS}
TUNED["MQAR"] |= {"SWA": 2.5e-3, "Mamba2 (gate only)": 1e-2}
TUNED["needle"]["SWA"] = 2.5e-3
"""The rates that --tune found with seed 1000."""


@dataclass(frozen=True)
class Result:
    """The result of one model on one task.

    Args:
        accuracy: by tested size, the accuracy for each seed.
        parameters: the number of parameters.
        lr: the maximum learning rate.
        seconds: the training time of all seeds.
    """

    accuracy: dict[int, list[float]]
    parameters: int
    lr: float
    seconds: float


def trained(task: Task, model: Model, seed: int, *, lr: float, budget: float) -> torch.nn.Module:
    """Train a new model; its weights and data depend only on the seed."""
    torch.manual_seed(seed)
    net, steps = model.build(), max(1, round(task.steps * model.steps * budget))
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    # Constant while the sizes grow: with an early decay the model does not learn long sequences.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 40, (steps - step) / (0.3 * steps))
    )
    for tokens, targets in task.batches(seed + 1, steps):
        asked = targets != IGNORED
        loss = F.cross_entropy(net(tokens)[0][asked], targets[asked])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: torch.nn.Module, task: Task, size: int, seed: int) -> float:
    """Return the fraction of correct answers in 128 sequences."""
    tokens, targets = task.sample(torch.Generator().manual_seed(seed), 128, size)
    asked = targets != IGNORED
    right = net(tokens)[0].argmax(-1) == targets
    return float(right[asked].double().mean())


def tuned(models: dict[str, Model], budget: float, console: Console) -> Rates:
    """Return the best of RATES for each task and model at the training size, with its own seed."""
    best: Rates = {}
    for title, task in TASKS.items():
        best[title] = {}
        for name, model in models.items():
            scores = {}
            for lr in RATES:
                net = trained(task, model, 1000, lr=lr, budget=budget)
                scores[lr] = accuracy(net, task, task.last, 2000)
            best[title][name] = max(scores, key=scores.__getitem__)
            text = ", ".join(f"{lr:g} {score:.3f}" for lr, score in scores.items())
            console.print(f"tune  {title}  {name}: {text}", highlight=False)
    return best


def measured(task: Task, model: Model, seeds: int, *, lr: float, budget: float) -> Result:
    """Train with the seeds 0, 10, 20, ... and test on data not used in training or tuning."""
    accuracies: dict[int, list[float]] = {size: [] for size in task.tested}
    seconds, parameters = 0.0, 0
    for seed in range(0, 10 * seeds, 10):
        start = time.perf_counter()
        net = trained(task, model, seed, lr=lr, budget=budget)
        seconds += time.perf_counter() - start
        parameters = sum(p.numel() for p in net.parameters())
        for size, found in accuracies.items():
            found.append(accuracy(net, task, size, 3000 + seed))
    return Result(accuracies, parameters, lr, seconds)


def rows(title: str, found: dict[str, Result]) -> list[list[str]]:
    """Return the table of a task: the header, then one row per model."""
    sizes = [f"{size} {TASKS[title].unit}" for size in TASKS[title].tested]
    table = [[title, "parameters", *sizes, "rate", "seconds"]]
    for name, result in found.items():
        scores = [_score(x) for x in result.accuracy.values()]
        seconds = f"{result.seconds:.0f}"
        table.append([name, f"{result.parameters:,}", *scores, f"{result.lr:g}", seconds])
    return table


def _score(accuracies: list[float]) -> str:
    """Return the mean in per cent, with the range if there are several seeds."""
    low, centre, high = (100 * x for x in (min(accuracies), mean(accuracies), max(accuracies)))
    return f"{centre:.1f}" if len(accuracies) == 1 else f"{centre:.1f} [{low:.0f}, {high:.0f}]"


def figure(results: dict[str, dict[str, Result]]) -> go.Figure:
    """Plot accuracy over size, one panel per task; error bars show the range over seeds."""
    fig = make_subplots(rows=1, cols=len(results), subplot_titles=list(results), shared_yaxes=True)
    for column, (title, found) in enumerate(results.items(), start=1):
        for name, result in found.items():
            scores = torch.tensor(list(result.accuracy.values())) * 100  # [sizes, seeds]
            centre = scores.mean(1)
            line = go.Scatter(
                x=list(result.accuracy),
                y=centre.tolist(),
                error_y={
                    "array": (scores.amax(1) - centre).tolist(),
                    "arrayminus": (centre - scores.amin(1)).tolist(),
                },
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                line={"color": MODELS[name].colour, "dash": MODELS[name].dash},
            )
            fig.add_trace(line, row=1, col=column)
        unit, sizes = TASKS[title].unit, TASKS[title].tested
        fig.update_xaxes(title_text=unit, type="log", tickvals=sizes, row=1, col=column)
    fig.update_yaxes(title_text="accuracy, %", range=[-2, 102], row=1, col=1)
    return fig.update_layout(template="plotly_white", title="Recall of tiny models")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for recall.html, recall.md")
    parser.add_argument("--seeds", type=int, default=1, help="training runs per model (default: 1)")
    parser.add_argument("--tune", action="store_true", help="sweep the learning rates first")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch threads (default: 2)")
    parser.add_argument(
        "--budget", type=float, default=1.0, help="factor on the number of steps (default: 1)"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    return parser.parse_args()


def main() -> int:
    args = parse()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    console, start = Console(), time.perf_counter()
    models = {name: MODELS[name] for name in args.models}
    rates = tuned(models, args.budget, console) if args.tune else TUNED
    results: dict[str, dict[str, Result]] = {title: {} for title in TASKS}
    for title, task in TASKS.items():
        for name, model in models.items():
            result = measured(task, model, args.seeds, lr=rates[title][name], budget=args.budget)
            results[title][name] = result
            text = ", ".join(f"{n}: {100 * mean(x):.1f} %" for n, x in result.accuracy.items())
            console.print(f"{title}  {name}  {text}  ({result.seconds:.0f} s)", highlight=False)
    caption = (
        f"Accuracy in %, mean and range of {args.seeds} seed(s). torch {torch.__version__}, "
        f"{args.threads} threads, {time.perf_counter() - start:.0f} s in total."
    )
    lines = [caption]
    for title, found in results.items():
        heading, *table = rows(title, found)
        summary = Table(*heading)
        for row in table:
            summary.add_row(*(cell.split(" [")[0] for cell in row))
        summary.columns[0].no_wrap = True
        console.print(summary)
        lines += ["", *(f"| {' | '.join(r)} |" for r in [heading, ["---"] * len(heading), *table])]
    console.print(caption, highlight=False)
    (args.out / "recall.md").write_text("\n".join(lines) + "\n")
    figure(results).write_html(args.out / "recall.html", include_plotlyjs=True)
    console.print(f"wrote {args.out / 'recall.md'} and {args.out / 'recall.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
