"""An export of a few small kernels, and its loader on the stand-in, made once."""

from __future__ import annotations

import fcntl
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.cubins import building
from gdn_ops.tuner.export.folder import write_all
from gdn_ops.tuner.export.formats import cubin
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.spaces.workloads import decode, pool, prefill, training
from tests.results import HANG, Bench, stage_key
from tests.tuner.export.cubins.loader import COMPILER, STRICT, Device, Loader, compiled, stand_in

SHAPE: dict[str, Any] = {"H": 2, "HV": 4, "K": 32, "V": 32}
RAW: dict[str, Any] = {"gate_in_kernel": True, "dt_bias": True}
PACKED = prefill(tokens=512, sequences=4, varlen=True, initial_state=True, **RAW, **SHAPE).bucket()
DECODE = decode(sequences=8, **SHAPE).bucket()
LARGER = decode(sequences=16, **SHAPE).bucket()
VERIFY = pool(sequences=4, drafts=3, **SHAPE).bucket()
SCRATCH = replace(PACKED, tokens=1024)
"""Its variant makes tensor descriptors."""
IN_TORCH = training(tokens=512, **SHAPE).bucket()
"""Its gradients of several value heads are added up by PyTorch."""


@dataclass(frozen=True)
class Folder:
    """An exported folder.

    Args:
        winners: the problem and variant of each winner, by the problem's id.
        left_out: the sentences about winners that were left out.
    """

    path: Path
    winners: dict[str, tuple[Problem, Variant]]
    left_out: list[str]


@dataclass(frozen=True)
class Exported:
    """An exported folder and the loader in it, compiled to a library."""

    folder: Path
    winners: dict[str, tuple[Problem, Variant]]
    library: Path
    loader: Loader
    device: Device


Winners = Sequence[tuple[Problem, Variant, bool]]
"""Problem, variant, and whether it is only predicted."""


def stored(root: Path, winners: Winners, target: str = "h200", arch: str = "sm_90") -> Path:
    """A results database with these winners."""
    bench = Bench(root / "r.db")
    for problem, variant, predicted in winners:
        bench.win(problem, variant=variant, predicted=predicted, target=target, arch=arch)
    bench.record(stage_key(winners[0][0], BV=32), HANG)
    return bench.close()


def export(root: Path, database: Path) -> tuple[Path, list[str]]:
    """Export a database to a folder below a root, and the sentences about what is left out."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        root.mkdir(exist_ok=True)
        patch.setattr(building, "cores", lambda: 1)  # starting a second worker costs more
        patch.setenv("GDN_CACHE_DIR", str(root / "rendered"))
        patch.setenv("TRITON_CACHE_DIR", str(root / "triton"))
        write_all(root / "out", cubin.exported(described([database])))
    return root / "out", [str(w.message) for w in caught]


def opened(root: Path, folder: Path, capability: tuple[int, int] = (9, 0)) -> Exported:
    """The loader of a folder on the stand-in, with all sets loaded."""
    device = Device(stand_in(root))
    device.set(*capability)
    library = compiled(folder / "gdn_kernels.c", root / "loader.so", *STRICT)
    loader = Loader(library, device)
    loader.open(folder)
    loader.load(-1)
    return Exported(folder, {}, library, loader, device)


@pytest.fixture(scope="package")
def small(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Folder:
    """Four small winners, two of which run the same kernel, and two that are left out.

    The processes of a test run share one export.
    """
    chunks = {"BT": 16}  # short ones compile faster
    descriptors = Variant.of("fused", SCRATCH, chunks, {"scan": {"loads": "descriptor"}})
    winners = [
        (PACKED, Variant.of("fused", PACKED, chunks), False),
        (DECODE, Variant.default("recurrent", DECODE), True),
        (LARGER, Variant.default("recurrent", LARGER), True),
        (VERIFY, Variant.default("recurrent", VERIFY), True),
        (SCRATCH, descriptors, True),
        (IN_TORCH, Variant.default("fused", IN_TORCH), True),
    ]
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "cubins"
    root.mkdir(exist_ok=True)
    said = root / "left_out.json"
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            said.write_text(json.dumps(export(root, stored(root, winners))[1]))
    made = {p.id(): (p, variant) for p, variant, _ in winners}
    return Folder(root / "out", made, json.loads(said.read_text()))


@pytest.fixture(scope="package")
def exported(small: Folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    if COMPILER is None:
        pytest.skip("this machine has no C compiler (cc, gcc or clang)")
    found = opened(tmp_path_factory.mktemp("loader"), small.path)
    yield replace(found, winners=small.winners)
    found.loader.close()
