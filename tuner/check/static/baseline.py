"""Baseline: the committed figures of one architecture, as a JSON file whose diffs can be read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import ResultsError, shown
from gdn_ops.tuner.check.static.compiler import Compiler
from gdn_ops.tuner.check.static.rules import rule_of
from gdn_ops.tuner.whole_file import write_whole

SCHEMA = 1
FOLDER = Path("baselines/static")
"""Where baselines are, relative to the repository."""
LARGEST = 2**53
MAKE = "make it again with `gdn check --static --update`"


@dataclass(frozen=True, kw_only=True)
class KernelRecord:
    """One kernel of a baseline; the texts are those of ``Kernel``.

    Args:
        figures: those that are not 0, by name.
    """

    hash: str
    arguments: str
    config: str
    options: str
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class VariantRecord:
    """One variant of a baseline.

    Args:
        problem: the problem's id.
        kernels: the name of the kernel of each Triton stage.
        figures: ``launches`` and ``bytes``.
    """

    problem: str
    kernels: Mapping[str, str]
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The figures of one architecture.

    Args:
        reader: see ``figures.reader_hash``.
        kernels, variants: by name.
    """

    arch: str
    compiler: Compiler
    reader: str
    kernels: Mapping[str, KernelRecord]
    variants: Mapping[str, VariantRecord]

    def kernel_of(self, use: str) -> str | None:
        """The name of the kernel of a use, ``<variant>/<stage>``; None if there is no such use."""
        variant, _, stage = use.rpartition("/")
        record = self.variants.get(variant)
        return None if record is None else record.kernels.get(stage)


def baseline_file(folder: Path, arch: str) -> Path:
    """The baseline file of an architecture."""
    return folder / f"{arch}.json"


def read_baseline(path: Path, arch: str) -> Baseline:
    """Read and check a baseline.

    Raises:
        ResultsError: it is missing, damaged, of another schema or of another architecture.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(
            f"there is no baseline {path}; make it with `gdn check --static --update`."
        ) from None
    except OSError as error:
        raise ResultsError(f"cannot read the baseline {path}: {error}; check the path.") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(
            f"the baseline {path} is not complete JSON ({error}); restore it with git, or {MAKE}."
        ) from error
    schema = data.get("schema") if isinstance(data, Mapping) else None
    if type(schema) is not int or schema != SCHEMA:
        raise ResultsError(
            f"the baseline {path} has schema {shown(schema)}, and this version of gdn-ops reads "
            f"schema {SCHEMA}; {MAKE}."
        )
    try:
        baseline = _baseline(data)
    except _Fault as fault:
        raise ResultsError(f"the baseline {path} is damaged: {fault}; {MAKE}.") from None
    if baseline.arch != arch:
        raise ResultsError(
            f"the baseline {path} is of {shown(baseline.arch)}, not of {arch}; {MAKE}."
        )
    return baseline


def text_of(baseline: Baseline) -> str:
    """The content of a baseline's file: one figure per line, sorted."""
    data = {
        "schema": SCHEMA,
        "arch": baseline.arch,
        "triton": baseline.compiler.triton,
        "ptxas": baseline.compiler.ptxas,
        "reader": baseline.reader,
        "kernels": {name: _fields(record) for name, record in baseline.kernels.items()},
        "variants": {name: _fields(record) for name, record in baseline.variants.items()},
    }
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline completely or not at all.

    Raises:
        ResultsError: the file or its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text_of(baseline))
    except OSError as error:
        raise ResultsError(
            f"cannot write the baseline {path}: {error}; check the path and its permissions."
        ) from error


def check_folder(folder: Path) -> None:
    """Make a folder for baselines if there is none.

    Raises:
        ResultsError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ResultsError(
            f"cannot write baselines to {folder}: {error.strerror or error}; make it a folder that "
            "can be written to."
        ) from error


class _Fault(Exception):
    """What is wrong with the content of a baseline."""


def _fields(record: KernelRecord | VariantRecord) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}


def _baseline(data: Mapping[str, Any]) -> Baseline:
    keys = ("schema", "arch", "triton", "ptxas", "reader", "kernels", "variants")
    _check_keys("its top level", data, keys)
    texts = {name: _text(name, data[name]) for name in ("arch", "triton", "ptxas", "reader")}
    kernels = {n: _kernel(n, d) for n, d in _object("kernels", data["kernels"]).items()}
    variants = {n: _variant(n, d) for n, d in _object("variants", data["variants"]).items()}
    for name, record in variants.items():
        for kernel in record.kernels.values():
            if kernel not in kernels:
                raise _Fault(f"{name} uses the kernel {shown(kernel)}, which it does not list")
    for name in kernels:
        if name.rpartition("/")[0] not in variants:
            raise _Fault(f"the kernel {shown(name)} is of no variant that it lists")
    return Baseline(
        arch=texts["arch"],
        compiler=Compiler(triton=texts["triton"], ptxas=texts["ptxas"]),
        reader=texts["reader"],
        kernels=kernels,
        variants=variants,
    )


def _kernel(name: str, data: Any) -> KernelRecord:
    _check_keys(name, _object(name, data), [f.name for f in fields(KernelRecord)])
    texts = {key: _text(f"{key} of {name}", value) for key, value in data.items()
             if key != "figures"}  # fmt: skip
    return KernelRecord(**texts, figures=_figures(name, data["figures"]))


def _variant(name: str, data: Any) -> VariantRecord:
    _check_keys(name, _object(name, data), [f.name for f in fields(VariantRecord)])
    uses = _object(f"kernels of {name}", data["kernels"]).items()
    return VariantRecord(
        problem=_text(f"problem of {name}", data["problem"]),
        kernels={stage: _text(f"{stage} of {name}", kernel) for stage, kernel in uses},
        figures=_figures(name, data["figures"]),
    )


def _figures(name: str, data: Any) -> dict[str, float]:
    for figure, value in _object(f"figures of {name}", data).items():
        if rule_of(figure) is None:
            raise _Fault(f"{name} has an unknown figure {shown(figure)}")
        if type(value) not in (int, float) or not 0 <= value < LARGEST:
            raise _Fault(f"{figure} of {name} is {shown(value)}, not a number from 0 to 2**53")
    return dict(data)


def _object(name: str, data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise _Fault(f"{name} is {shown(data)}, not an object")
    return data


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _Fault(f"{name} is {shown(value)}, not a text")
    return value


def _check_keys(name: str, data: Mapping[str, Any], keys: Collection[str]) -> None:
    if unknown := sorted(set(data) - set(keys)):
        raise _Fault(f"{name} has an unknown key {shown(unknown[0])}")
    if missing := sorted(set(keys) - set(data)):
        raise _Fault(f"{name} lacks {shown(missing[0])}")
