"""Machine code of other libraries' kernels, read for the cost model, with what is known of it.

``bench/results/peer-kernels-sm_90.json.gz`` holds it, so that the fit needs none of the libraries.
``python -m bench.cost_fit.record`` makes it anew.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gdn_ops.codegen.compiled.loops import Loop, Mix, bodies
from gdn_ops.codegen.compiled.sass import lines, printed
from gdn_ops.codegen.compiled.warp_cycles import Latencies, Step, cycles

PATH = Path(__file__).parents[1] / "results" / "peer-kernels-sm_90.json.gz"
KINDS = [
    "other",
    "load",
    "store",
    "shared",
    "copy",
    "commit",
    "copies",
    "product",
    "products",
    "barrier",
    "asks",
]


@dataclass(frozen=True, eq=False)
class Body:
    """The instructions of one loop.

    Args:
        outer: the loop around it; -1 for the kernel itself.
        mix: what one pass executes, but for its cycles.
        steps: its instructions.
    """

    outer: int
    mix: Mix
    steps: tuple[Step, ...]

    def loop(self, latencies: Latencies) -> Loop:
        """The loop as the cost model reads it."""
        found = cycles(self.steps, loop=self.outer >= 0, latencies=latencies)
        return Loop(self.outer, replace(self.mix, cycles=found))


@dataclass(frozen=True, kw_only=True, eq=False)
class PeerConfig:
    """One compiled config of a peer's kernel.

    Args:
        name: the config.
        warps, resident: warps of a program, and programs that an SM runs side by side.
        programs: per sequence and value head if the kernel walks over chunks, else per chunk and
            value head.
        passes: of each loop in one run of a program; 0 for the loop over chunks.
        partitions: of each loop the warps that run it beside other partitions; 0 if all run it.
        bodies: the loops.
    """

    name: str
    warps: int
    resident: int
    programs: float
    passes: tuple[float, ...]
    partitions: tuple[int, ...]
    bodies: tuple[Body, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class PeerKernel:
    """One launch of a peer's call; an operation of PyTorch has no configs.

    Args:
        op: ``forward`` or ``backward`` of FLA, or ``flashinfer``.
        walks: whether a program walks over the chunks of a sequence.
        bytes: per token and value head, by ``H/HV``.
    """

    op: str
    name: str
    walks: bool
    bytes: Mapping[str, float]
    configs: tuple[PeerConfig, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class PeerChain:
    """A kernel with partitions that is one chain over the chunks of a sequence.

    Args:
        library, name: of whom, and which.
        seconds: published, per chunk of a sequence with one program per SM.
        bodies: the loops over chunks of those partitions that multiply.
    """

    library: str
    name: str
    seconds: float
    bodies: tuple[Body, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Peers:
    """Everything that was recorded.

    Args:
        versions: of the libraries and compilers.
    """

    versions: Mapping[str, str]
    kernels: tuple[PeerKernel, ...]
    chains: tuple[PeerChain, ...]


def bodies_of(cubin: bytes) -> tuple[Body, ...]:
    """Read the loops of a kernel."""
    _, listing = printed(cubin)
    return tuple(
        Body(
            outer,
            Mix.total(line.mix for line in own),
            tuple(line.step for line in own if line.step is not None),
        )
        for outer, own in bodies(lines(listing))
    )


def write(peers: Peers, path: Path = PATH) -> None:
    """Write what was recorded."""

    def plain(value: Any) -> Any:
        if isinstance(value, Body):
            mix = {k: v for k, v in asdict(value.mix).items() if v}
            return {"outer": value.outer, "mix": mix, "steps": _text(value.steps)}
        if isinstance(value, PeerConfig | PeerKernel | PeerChain | Peers):
            return {name: plain(field) for name, field in vars(value).items()}
        return [plain(x) for x in value] if isinstance(value, tuple) else value

    with gzip.GzipFile(path, "wb", mtime=0) as file:
        file.write(json.dumps(plain(peers), indent=0).encode())


def read(path: Path = PATH) -> Peers:
    """Read what was recorded."""
    with gzip.open(path) as file:
        data = json.load(file)
    kernels = tuple(
        PeerKernel(**{**k, "configs": tuple(_config(c) for c in k["configs"])})
        for k in data["kernels"]
    )
    chains = tuple(PeerChain(**{**c, "bodies": _bodies(c["bodies"])}) for c in data["chains"])
    return Peers(versions=data["versions"], kernels=kernels, chains=chains)


def _config(data: Mapping[str, Any]) -> PeerConfig:
    return PeerConfig(
        **{
            **data,
            "passes": tuple(data["passes"]),
            "partitions": tuple(data["partitions"]),
            "bodies": _bodies(data["bodies"]),
        }
    )


def _bodies(data: Iterable[Mapping[str, Any]]) -> tuple[Body, ...]:
    return tuple(Body(b["outer"], Mix(**b["mix"]), _steps(b["steps"])) for b in data)


def _text(steps: Iterable[Step]) -> str:
    """A word per step: kind, stall, scoreboards as hexadecimal digits, then the amount."""
    return " ".join(
        f"{KINDS.index(s.kind):x}{s.stall:x}{s.sets}{s.reads}{s.waits:02x}{s.amount:g}"
        + "!" * s.last
        for s in steps
    )


def _steps(text: str) -> tuple[Step, ...]:
    return tuple(
        Step(
            kind=KINDS[int(word[0], 16)],
            stall=int(word[1], 16),
            sets=int(word[2]),
            reads=int(word[3]),
            waits=int(word[4:6], 16),
            amount=float(word[6:].rstrip("!")),
            last=word.endswith("!"),
        )
        for word in text.split()
    )
