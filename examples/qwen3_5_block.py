"""Prefill and decode a small stack of Qwen3.5-shaped blocks on the tuned kernels.

    python examples/qwen3_5_block.py
    python examples/qwen3_5_block.py --prompt 2048 --heads 16 --hidden 2048 --dtype bfloat16

A block is x + mixer(norm(x)), then x + mlp(norm(x)). The mixer is a GatedDeltaNet with two value
heads per query/key head and K = V = 128; the MLP is a SwiGLU. The prompt runs in one call, then
each token in one call. For both phases the example prints which variant they run on. It compares
the decoded outputs with those of one pass over all tokens.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gdn_ops import Problem, explain
from gdn_ops.layers import DeltaNetCache, GatedDeltaNet, SwiGLU

HEAD_DIM = 128
DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
BARS = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}
"""The example fails if RMS(decoded - one pass) / RMS(one pass) is above this."""


class Block(nn.Module):
    """A pre-norm residual block: token mixer, then MLP."""

    def __init__(self, hidden_size: int, heads: int, layer_idx: int) -> None:
        super().__init__()
        self.input_norm = nn.RMSNorm(hidden_size, eps=1e-6)
        self.mixer = GatedDeltaNet(
            hidden_size,
            expand_v=1,
            head_dim=HEAD_DIM,
            num_heads=heads,
            num_v_heads=2 * heads,
            layer_idx=layer_idx,
            norm_eps=1e-6,
        )
        self.mlp_norm = nn.RMSNorm(hidden_size, eps=1e-6)
        self.mlp = SwiGLU(hidden_size, 3 * hidden_size)

    def forward(self, x: Tensor, cache: DeltaNetCache | None) -> Tensor:
        mixed, _, _ = self.mixer(self.input_norm(x), past_key_values=cache)
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x))


class Stack(nn.Module):
    """Blocks that share one cache."""

    def __init__(self, hidden_size: int, heads: int, layers: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(hidden_size, heads, i) for i in range(layers))

    def forward(self, x: Tensor, cache: DeltaNetCache | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, cache)
        return x


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_argument_group("sizes")
    size.add_argument("--layers", type=int, default=2, help="blocks (default: 2)")
    size.add_argument("--hidden", type=int, default=256, help="hidden size (default: 256)")
    size.add_argument("--heads", type=int, default=2, help="query/key heads, H (default: 2)")
    size.add_argument("--batch", type=int, default=1, help="sequences (default: 1)")
    size.add_argument("--prompt", type=int, default=512, help="tokens of prefill (default: 512)")
    size.add_argument("--steps", type=int, default=32, help="tokens to decode (default: 32)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="torch device (default: the GPU, else the CPU)",
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def problem(args: argparse.Namespace, op: str) -> Problem:
    """Return the problem of each mixer's call in prefill (``forward``) or in ``decode``."""
    return Problem(
        op=op,
        H=args.heads,
        HV=2 * args.heads,
        K=HEAD_DIM,
        V=HEAD_DIM,
        dtype=DTYPES[args.dtype],
        tokens=args.batch * (args.prompt if op == "forward" else 1),
        sequences=args.batch,
        initial_state=op == "decode",
        final_state=True,
        gate_in_kernel=True,
        dt_bias=True,
    )


def timed(run: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, float]:
    """Run a function; return its result and the seconds it took."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start


def main() -> int:
    args = parse()
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    torch.manual_seed(args.seed)
    model = Stack(args.hidden, args.heads, args.layers).to(device, dtype).eval()
    x = torch.randn(args.batch, args.prompt + args.steps, args.hidden, device=device, dtype=dtype)
    prompt, rest = x[:, : args.prompt], x[:, args.prompt :].split(1, dim=1)

    for phase, op in (("prefill", "forward"), ("decode", "decode")):
        print(f"{phase}\n{explain(problem(args, op), device=device)}\n")

    def decode(cache: DeltaNetCache) -> Tensor:
        return torch.cat([model(token, cache) for token in rest], dim=1)

    with torch.no_grad():
        expected = model(x)[:, args.prompt :]
        cache = DeltaNetCache()  # warm-up: render and compile the kernels before timing them
        model(prompt, cache)
        model(rest[0], cache)
        cache = DeltaNetCache()
        _, prefill_seconds = timed(lambda: model(prompt, cache), device)
        decoded, decode_seconds = timed(lambda: decode(cache), device)

    tokens = args.batch * args.prompt
    print(f"prefill  {tokens} tokens at {tokens / prefill_seconds:,.0f} tokens/s")
    tokens = args.batch * args.steps
    print(f"decode   {tokens} tokens at {tokens / decode_seconds:,.0f} tokens/s")
    difference = (decoded - expected).float()
    ratio = (difference.square().mean() / expected.float().square().mean()).sqrt().item()
    equal = ratio <= BARS[args.dtype]
    print(
        f"decode against one pass: max error {difference.abs().max():.1e}, "
        f"RMS ratio {ratio:.1e} ({'within' if equal else 'ABOVE'} {BARS[args.dtype]:.0e})"
    )
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
