"""Format wheel: a library for one target, which needs torch and triton only."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.sources.files import INDEX
from gdn_ops.tuner.export.archive import archive
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.library import LICENCE, Names, json_bytes, library_facts, names_of
from gdn_ops.tuner.export.rendering import rendered
from gdn_ops.tuner.export.runtime import runtime
from gdn_ops.tuner.export.sbom import bill_of_materials
from gdn_ops.tuner.export.wheel_check import faults as faults  # a part of the format
from gdn_ops.tuner.export.winners_database import winners_database

SOUND = "is as it was exported, and can be imported without gdn-ops."
SUFFIX = ".whl"
GROUP = "gdn_ops.libraries"
"""The group of entry points by which a program finds the installed libraries."""
PYTHON = ">=3.10"
REQUIRES = ("torch>=2.11", "triton>=3.6,<3.10; sys_platform == 'linux'")


def exported(descriptions: Sequence[Description]) -> dict[str, bytes]:
    """One wheel per target, by file name.

    Raises:
        InvalidInput: two targets have the same name as a package, or one has none.
    """
    wheels: dict[str, bytes] = {}
    for description in descriptions:
        names = names_of(description)
        if names.wheel in wheels:
            raise InvalidInput(
                f"two targets make the same wheel {names.wheel}; export them one by one with "
                "--target."
            )
        wheels[names.wheel] = archive(_members(description, names), names.dist_info)
    return wheels


def recognizes(path: Path) -> bool:
    return path.suffix == SUFFIX


def _members(description: Description, names: Names) -> dict[str, bytes]:
    sources = rendered(description)
    package = {
        **runtime(names.package),
        "results.db": winners_database(description),
        "library.json": json_bytes(library_facts(description, names)),
        "rendered/__init__.py": b'"""The rendered sources of this library."""\n',
        f"rendered/{INDEX}": json_bytes(sources.index()),
        **{f"rendered/{file}.py": text.encode() for file, text in sources.sources.items()},
    }
    metadata = {
        "METADATA": _metadata(description, names).encode(),
        "WHEEL": b"Wheel-Version: 1.0\nGenerator: gdn-ops\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
        "entry_points.txt": (f"[{GROUP}]\n{names.target} = {names.package}\n").encode(),
        "sboms/library.cdx.json": json_bytes(bill_of_materials(description, names)),
    }
    licence = _licence()
    if licence is not None:
        metadata["licenses/LICENSE"] = licence.encode()
    return {
        **{f"{names.package}/{name}": content for name, content in package.items()},
        **{f"{names.dist_info}/{name}": content for name, content in metadata.items()},
    }


def _metadata(description: Description, names: Names) -> str:
    licence = ["License-File: LICENSE"] if _licence() is not None else []
    header = [
        "Metadata-Version: 2.4",
        f"Name: {names.distribution}",
        f"Version: {names.version}",
        f"Summary: Tuned kernels of the gated delta rule for {names.target}",
        f"License-Expression: {LICENCE}",
        *licence,
        f"Requires-Python: {PYTHON}",
        *(f"Requires-Dist: {requirement}" for requirement in REQUIRES),
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join([*header, "", _readme(description, names)])


def _readme(description: Description, names: Names) -> str:
    lines = [
        f"Kernels of the gated delta rule, tuned for {names.target} and exported by gdn-ops.",
        "",
        f"    from {names.package} import chunk_gated_delta_rule",
        "",
        "| problem | variant | time | over the reference | |",
        "|---|---|---|---|---|",
    ]
    for exported in description.winners:
        winner = exported.winner
        speedup = "-" if winner.speedup is None else f"{winner.speedup:.2f}x"
        lines.append(
            f"| {exported.problem.id()} | {exported.variant.id} | {winner.median * 1e3:.4g} ms | "
            f"{speedup} | {winner.provenance} |"
        )
    return "\n".join([*lines, ""])


def _licence() -> str | None:
    """The text of the licence: in a checkout its file, else from the metadata of gdn-ops."""
    root = Path(str(files("gdn_ops"))).parent
    if (root / "pyproject.toml").is_file():
        return (root / "LICENSE").read_text(encoding="utf-8")
    try:
        return distribution("gdn-ops").read_text("licenses/LICENSE")
    except PackageNotFoundError:
        return None
