"""The bill of materials of a library, in CycloneDX 1.5."""

from __future__ import annotations

from typing import Any

from gdn_ops._version import __version__
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.library import LICENCE, Names, templates_hash


def bill_of_materials(
    description: Description, names: Names, *, package: bool = True
) -> dict[str, Any]:
    """The library, what it was made from, and what it was measured with. No time, no serial number.

    ``torch`` and ``triton`` have one component for each version with which a winner was measured.

    Args:
        package: whether pip installs the library under its name.
    """
    environments = [w.environment for w in description.winners if w.environment is not None]
    used = {("torch", e.torch) for e in environments}
    used |= {("triton", e.triton) for e in environments if e.triton is not None}
    source = {
        **_component("library", "gdn-ops", __version__),
        "licenses": [{"license": {"id": LICENCE}}],
    }
    templates = {
        **_component("data", "gdn-ops templates", __version__),
        "hashes": [{"alg": "SHA-256", "content": templates_hash()}],
    }
    library = {
        **_component("library", names.distribution, names.version),
        "licenses": [{"license": {"id": LICENCE}}],
    }
    if not package:
        del library["purl"]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": library},
        "components": [
            source, templates, *(_component("library", *pair) for pair in sorted(used))
        ],
    }  # fmt: skip


def _component(kind: str, name: str, version: str) -> dict[str, Any]:
    found = {"type": kind, "name": name, "version": version, "bom-ref": f"{name}@{version}"}
    if kind == "library":
        found["purl"] = f"pkg:pypi/{name}@{version.replace('+', '%2B')}"
    return found
