"""What Hugging Face's ``kernels`` reads of a kernel without compiled code: names and metadata."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdn_ops._version import __version__
from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.export.library import LICENCE, Names, json_bytes, templates_hash

METADATA = "metadata.json"
VERSION = 1
"""The version of the functions' interface; on the Hub it is the branch ``v1``."""
BACKENDS = {"nvidia": "cuda", "amd": "rocm", "cpu": "cpu"}
"""The Hub's name for the devices of a vendor."""


def backend_of(target: Target) -> str:
    """The backend of a target.

    Raises:
        InvalidInput: the Hub has none for it.
    """
    if target.vendor not in BACKENDS:
        raise InvalidInput(
            f"target {target.name:.60} is of vendor {target.vendor!r:.60}; format hf is for "
            f"{', '.join(BACKENDS)}. Leave it out with --target."
        )
    return BACKENDS[target.vendor]


def identifier(names: Names, backend: str, files: Mapping[str, bytes]) -> str:
    """The name under which Python has the kernel: another one if any of its files differs.

    ``kernels`` loads a kernel under this name, so that two versions can be loaded in one process.

    Args:
        files: the files under the name of the package, by path.
    """
    found = hashlib.sha256()
    for name in sorted(files):
        found.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return f"_{names.package}_{backend}_{found.hexdigest()[:7]}"


def metadata(names: Names, target: Target, *, identifier: str, files: Mapping[str, bytes]) -> bytes:
    """The content of ``metadata.json`` of one variant.

    Args:
        files: the other files of the variant, by path.
    """
    backend: dict[str, Any] = {"type": backend_of(target)}
    if target.gpu:
        backend["archs"] = [_arch(target)]
    content = {
        "id": identifier,
        "name": names.distribution,
        "version": VERSION,
        "license": LICENCE,
        "python-depends": [],
        "backend": backend,
        "digest": {
            "algorithm": "sha256",
            "files": {name: _digest(data) for name, data in sorted(files.items())},
        },
        "gdn-ops": {
            "version": __version__,
            "templates": templates_hash(),
            "library": names.version,
        },
    }
    return json_bytes(content)


def _arch(target: Target) -> str:
    """The architecture as the Hub has it: 9.0 for sm_90, gfx942 as it is."""
    capability = target.capability
    return f"{capability // 10}.{capability % 10}" if capability else target.arch


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def module_of(path: Path) -> str:
    """The name under which Python has the kernel of a ``metadata.json``."""
    return str(json.loads(path.read_bytes())["id"])
