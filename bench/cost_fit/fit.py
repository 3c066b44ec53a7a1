"""The fit: the constants with which the cost model is closest to what peers published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log, sqrt

from bench.compare.cases import Case
from bench.cost_fit.peer_kernels import Body, PeerChain, PeerConfig, PeerKernel, Peers
from bench.published import published
from gdn_ops.codegen.compiled.loops import Loop
from gdn_ops.codegen.compiled.warp_cycles import LATENCIES, Latencies
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.cost.kernel_time import program_time
from gdn_ops.tuner.cost.program import GROUP_WARPS, Part, Program, program_of
from gdn_ops.tuner.cost.reached import REACHED, Reached

CHUNK = 64
HELD_GEOMETRIES = 3
"""One of so many head geometries, the last of each group, is held out of the fit."""
HELD_CHAINS = ("fused_fwd_dv64", "prepare_dh", "recompute_h")
FAMILIES = ("FLA forward", "FLA backward", "FlashInfer forward", "FlashQLA chains")
"""The kinds of kernels, by what was published of them."""
GRID: Mapping[str, Sequence[float]] = {
    "product": (30, 45, 60, 80, 100),
    "barrier": (20, 30, 40, 50, 60),
    "memory": (500, 600, 700, 800, 900, 1000),
    "issue": (0.4, 0.45, 0.5, 0.6, 0.7, 0.8),
    "matrix": (0.5, 0.6, 0.7, 0.8),
    "overlap": (1.5, 2.0, 3.0, 4.0),
}
"""The constants that are fitted, and the values that are tried: what a Hopper GPU can plausibly
have. The others are known: the clock and the bandwidth that an H200 keeps, and latencies from tests
of single instructions."""


@dataclass(frozen=True)
class Constants:
    """All constants of the model."""

    latencies: Latencies = LATENCIES
    reached: Reached = REACHED

    def get(self, name: str) -> float:
        return float(
            getattr(self.latencies if hasattr(self.latencies, name) else self.reached, name)
        )

    def with_(self, name: str, value: float) -> Constants:
        if hasattr(self.latencies, name):
            return replace(self, latencies=replace(self.latencies, **{name: value}))
        return replace(self, reached=replace(self.reached, **{name: value}))


@dataclass(frozen=True)
class Row:
    """One published time.

    Args:
        family: see ``FAMILIES``.
        name: what was timed.
        seconds: published.
        held: whether it is held out of the fit.
        predict: its seconds by the model with some constants.
    """

    family: str
    name: str
    seconds: float
    held: bool
    predict: Callable[[Constants], float]


def rows_of(peers: Peers, target: Target) -> list[Row]:
    """Every published row for which there is machine code."""
    found = []
    by_op = {op: [k for k in peers.kernels if k.op == op] for op in ("forward", "backward")}
    walk = [k for k in peers.kernels if k.op == "flashinfer"]
    for op, kernels in by_op.items():
        cases = list(published(op))
        heads = list(dict.fromkeys((case.H, case.HV) for case, _ in cases))
        for case, times in cases:
            held = heads.index((case.H, case.HV)) % HELD_GEOMETRIES == HELD_GEOMETRIES - 1
            for library, own in (("FLA", kernels), ("FlashInfer", walk)):
                if library in times and own:
                    found.append(Row(
                        f"{library} {op}", case.name, 1e-3 * times[library], held,
                        lambda c, case=case, own=own: call_seconds(own, case, target, c),
                    ))  # fmt: skip
    for chain in peers.chains:
        found.append(Row(
            "FlashQLA chains", chain.name, chain.seconds, chain.name in HELD_CHAINS,
            lambda c, chain=chain: chain_seconds(chain, target, c),
        ))  # fmt: skip
    return found


def call_seconds(
    kernels: Iterable[PeerKernel], case: Case, target: Target, constants: Constants
) -> float:
    """The seconds of a call: of each kernel its fastest config, one after another."""
    return sum(_kernel_seconds(kernel, case, target, constants) for kernel in kernels)


def _kernel_seconds(kernel: PeerKernel, case: Case, target: Target, constants: Constants) -> float:
    reached, heads = constants.reached, f"{case.H}/{case.HV}"
    if heads not in kernel.bytes:
        return 0.0  # not launched
    moved = kernel.bytes[heads] * case.tokens * case.HV
    if not kernel.configs:
        return reached.launch + moved / (reached.memory * target.bandwidth)
    depths = [-(-length // CHUNK) for length in case.lengths]
    found = []
    for config in kernel.configs:
        count = len(depths) if kernel.walks else sum(depths)
        mean, longest = (sum(depths) / len(depths), max(depths)) if kernel.walks else (1, 1)
        found.append(
            program_time(
                _program(config, constants.latencies, mean, longest),
                programs=round(config.programs * count * case.HV),
                resident=config.resident,
                moved=moved,
                target=target,
                reached=reached,
            ).seconds
        )
    return min(found)


@lru_cache(maxsize=100_000)
def _program(config: PeerConfig, latencies: Latencies, mean: float, longest: float) -> Program:
    parts = [
        Part(
            loop=loop,
            passes=passes or mean,
            longest=passes or longest,
            warps=warps or config.warps,
            beside=warps > 0,
        )
        for loop, passes, warps in zip(
            _loops(config.bodies, latencies), config.passes, config.partitions, strict=True
        )
    ]
    return program_of(parts, latencies=latencies)


@lru_cache(maxsize=10_000)
def _loops(bodies: tuple[Body, ...], latencies: Latencies) -> tuple[Loop, ...]:
    return tuple(body.loop(latencies) for body in bodies)


def chain_seconds(chain: PeerChain, target: Target, constants: Constants) -> float:
    """The seconds per chunk of partitions that hand the state to each other.

    Each waits for the one before, so their loops follow each other. Of the products that are in
    flight at once the matrix units do one after another, as in a single partition.
    """
    latencies, reached = constants.latencies, constants.reached
    parts = [
        Part(loop=loop, passes=1.0, longest=1.0, warps=GROUP_WARPS)
        for loop in _loops(chain.bodies, latencies)
    ]
    found = program_time(
        program_of(parts, latencies=latencies),
        programs=1, resident=1, moved=0.0, target=target, reached=reached,
    )  # fmt: skip
    return found.seconds - reached.launch


@dataclass(frozen=True)
class Error:
    """How predictions differ from what was published.

    Args:
        rows: how many there are.
        ratio: geometric mean of predicted over published.
        spread: geometric standard deviation of that ratio.
        error: root of the mean square of its logarithm.
    """

    rows: int
    ratio: float
    spread: float
    error: float

    @classmethod
    def of(cls, logs: Sequence[float]) -> Error:
        mean = sum(logs) / len(logs)
        spread = sqrt(sum((x - mean) ** 2 for x in logs) / len(logs))
        return cls(len(logs), exp(mean), exp(spread), sqrt(sum(x * x for x in logs) / len(logs)))


def error(rows: Iterable[Row], constants: Constants) -> Error:
    """The error of some rows."""
    return Error.of([log(row.predict(constants) / row.seconds) for row in rows])


def fitted(rows: Sequence[Row], start: Constants = Constants()) -> Constants:
    """The constants with the least mean square error, each family of rows counting the same.

    Coordinate descent over ``GRID``; deterministic.
    """
    families = {row.family: [r for r in rows if r.family == row.family] for row in rows}

    def loss(constants: Constants) -> float:
        return sum(error(own, constants).error ** 2 for own in families.values()) / len(families)

    best, least, before = start, loss(start), float("inf")
    while least < before - 1e-6:
        before = least
        for name, values in GRID.items():
            for value in values:
                tried = best.with_(name, value)
                if (found := loss(tried)) < least - 1e-7:
                    best, least = tried, found
    return best
