"""The stages of a campaign, the most useful first in case the time is short."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.campaign.stage import Command, Stage
from gdn_ops.tuner.cores import cores

TESTERS = 8
"""Parallel test processes; most of a test's time is spent in the compiler."""


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """The arguments of a campaign.

    Args:
        folder: the folder for its files.
        minutes: time limit of the call.
        device: torch device.
        grids: the grids of ``bench.compare`` to tune and compare.
        only: the libraries to compare with, as for ``bench.compare --only``; empty: all.
    """

    folder: Path
    minutes: float
    device: str
    grids: Sequence[str]
    only: str = ""

    @property
    def gpu(self) -> bool:
        return self.device.startswith("cuda")


def stages_of(campaign: Campaign) -> list[Stage]:
    """Return the stages of a campaign, in order."""
    return [
        Stage(
            name="machine",
            doc="the machine's properties, copy bandwidth and matrix rates",
            share=0.1, least=5.0,
            commands=lambda seconds: _machine(campaign),
        ),
        Stage(
            name="tests",
            doc="the tests that need a GPU",
            share=0.3, least=20.0,
            commands=lambda seconds: [_tests()],
            refuses=lambda: "" if campaign.gpu else f"{campaign.device} is not a GPU",
        ),
        Stage(
            name="tune",
            doc="winners for the problems of the grids",
            share=0.5, least=15.0,
            commands=lambda seconds: _tune(campaign, seconds),
        ),
        Stage(
            name="compare",
            doc="gdn_ops and every installed library on the grids",
            share=0.5, least=10.0,
            commands=lambda seconds: _compare(campaign, seconds),
        ),
        Stage(
            name="sanitize",
            doc="small calls of every plan under compute-sanitizer",
            share=0.2, least=60.0,
            commands=lambda seconds: _sanitize(),
            refuses=lambda: _needs(campaign, "compute-sanitizer"),
        ),
        Stage(
            name="profile",
            doc="hardware counters of our slowest case relative to a peer",
            share=0.2, least=30.0,
            commands=lambda seconds: _profile(campaign),
            refuses=lambda: _needs(campaign, "ncu"),
        ),
    ]  # fmt: skip


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _needs(campaign: Campaign, program: str) -> str:
    if not campaign.gpu:
        return f"{campaign.device} is not a GPU"
    return "" if shutil.which(program) else f"{program} is not installed"


def _machine(campaign: Campaign) -> list[Command]:
    ceilings = _python(
        "bench.campaign.ceilings", str(campaign.folder / "ceilings.json"),
        "--device", campaign.device,
    )  # fmt: skip
    smi = [Command(argv=["nvidia-smi", "-q"])] if shutil.which("nvidia-smi") else []
    doctor = Command(argv=_python("gdn_ops.tuner.cli", "doctor"), needed=False)
    return [doctor, *smi, Command(argv=ceilings)]


def _tests() -> Command:
    together = ["-n", str(min(TESTERS, cores()))] if find_spec("xdist") else []
    argv = _python("pytest", "tests/gpu", "-q", "-p", "no:cacheprovider", *together)
    return Command(argv=argv, env={"TRITON_INTERPRET": "0"})


def _tune(campaign: Campaign, seconds: float) -> list[Command]:
    """Use one tuning command for all grids, so that shared problems are tuned once."""
    workload, database = campaign.folder / "problems.json", campaign.folder / "results.db"
    write = _python("bench.campaign.problems", str(workload), *campaign.grids)
    tune = _python(
        "gdn_ops.tuner.cli", "tune", str(workload), "--db", str(database),
        "--device", campaign.device, "--minutes", f"{seconds / 60:.3f}",
    )  # fmt: skip
    check = _python("bench.campaign.tuning", str(database), str(workload))
    return [Command(argv=write), Command(argv=tune), Command(argv=check)]


def _compare(campaign: Campaign, seconds: float) -> list[Command]:
    found = []
    for grid in campaign.grids:
        argv = _python(
            "bench.compare", grid, "--out", str(campaign.folder), "--device", campaign.device,
            "--seconds", "1", "--minutes", f"{seconds / 60 / len(campaign.grids):.3f}",
            *(["--only", campaign.only] if campaign.only else []),
        )  # fmt: skip
        env = {"GDN_RESULTS_DB": str(campaign.folder / "results.db")}
        found.append(Command(argv=argv, env=env))
    return found


def _sanitize() -> list[Command]:
    """Turn PyTorch's allocator cache off, so that reads outside a tensor are found."""
    env = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "TRITON_INTERPRET": "0"}
    return [
        Command(
            argv=["compute-sanitizer", "--tool", tool, "--error-exitcode", "9",
                  *_python("bench.campaign.small")],
            env=env,
        )
        for tool in ("memcheck", "racecheck")
    ]  # fmt: skip


def _profile(campaign: Campaign) -> list[Command]:
    env = {"GDN_RESULTS_DB": str(campaign.folder / "results.db")}
    argv = _python("bench.campaign.profile", str(campaign.folder))
    return [Command(argv=argv, env=env)]
