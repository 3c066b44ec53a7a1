"""Format wheel: a library for one target, which needs torch and triton only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.export.archive import archive
from gdn_ops.tuner.export.card import winners_table
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.library import LICENCE, Names, json_bytes, licence_text, names_of
from gdn_ops.tuner.export.library_files import library_files
from gdn_ops.tuner.export.runtime import runtime
from gdn_ops.tuner.export.sbom import bill_of_materials
from gdn_ops.tuner.export.summary import summary as summary  # a part of the format
from gdn_ops.tuner.export.wheel_check import faults as faults  # a part of the format

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
    return path.suffix == SUFFIX and not path.is_dir()


def _members(description: Description, names: Names) -> dict[str, bytes]:
    package = library_files(description, names, runtime(names.package))
    metadata = {
        "METADATA": _metadata(description, names).encode(),
        "WHEEL": b"Wheel-Version: 1.0\nGenerator: gdn-ops\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
        "entry_points.txt": (f"[{GROUP}]\n{names.target} = {names.package}\n").encode(),
        "sboms/library.cdx.json": json_bytes(bill_of_materials(description, names)),
    }
    licence = licence_text()
    if licence is not None:
        metadata["licenses/LICENSE"] = licence.encode()
    return {
        **{f"{names.package}/{name}": content for name, content in package.items()},
        **{f"{names.dist_info}/{name}": content for name, content in metadata.items()},
    }


def _metadata(description: Description, names: Names) -> str:
    licence = ["License-File: LICENSE"] if licence_text() is not None else []
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
        *winners_table(description),
    ]
    return "\n".join([*lines, ""])
