"""The names of a library, and its ``library.json``: what it is for, and the proof."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

from gdn_ops._version import __version__
from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.export.description import Description

SCHEMA = 1
LICENCE = "Apache-2.0"
LONGEST = 60
"""Characters of a target's name; a name in a database may be a megabyte."""


@dataclass(frozen=True)
class Names:
    """The names of a library.

    Args:
        target: the target's name in letters, digits and dashes, e.g. ``h200``.
        version: the date and time of the newest winner, e.g. ``2026.11.29.2213``.
    """

    target: str
    version: str

    @property
    def distribution(self) -> str:
        """What pip calls it, e.g. ``gdn-ops-lib-h200``."""
        return f"gdn-ops-lib-{self.target}"

    @property
    def package(self) -> str:
        """What Python imports, e.g. ``gdn_ops_lib_h200``."""
        return self.distribution.replace("-", "_")

    @property
    def dist_info(self) -> str:
        """The folder with the metadata."""
        return f"{self.package}-{self.version}.dist-info"

    @property
    def wheel(self) -> str:
        """The file name of the wheel."""
        return f"{self.package}-{self.version}-py3-none-any.whl"


def names_of(description: Description) -> Names:
    """The names of the library of a description.

    Raises:
        InvalidInput: the target's name has no letter or digit, or is too long.
    """
    target = description.target.name
    words = re.findall(r"[a-z0-9]+", target.lower())
    if not words or len(target) > LONGEST:
        raise InvalidInput(
            f"target {target[:LONGEST]!r} cannot be part of a package's name; it must have a "
            f"letter or a digit, and at most {LONGEST} characters."
        )
    newest = max(datetime.fromisoformat(w.winner.created) for w in description.winners)
    version = f"{newest.year}.{newest.month}.{newest.day}.{newest.hour * 100 + newest.minute}"
    return Names("-".join(words), version)


def library_facts(description: Description, names: Names) -> dict[str, Any]:
    """The content of ``library.json``. Times are in seconds, sizes in bytes; null is unknown."""
    return {
        "schema": SCHEMA,
        "name": names.distribution,
        "version": names.version,
        "package": names.package,
        **proof(description),
    }


def proof(description: Description) -> dict[str, Any]:
    """What every export says of a target: device, winners with their proof, and what failed."""
    return {
        "licence": LICENCE,
        "gdn_ops": {"version": __version__, "templates": templates_hash()},
        "target": _target_facts(description.target, description.aliases),
        "winners": [winner.facts() for winner in description.winners],
        "denied": [denied.facts() for denied in description.denied],
        "left_out": list(description.left_out),
    }


def licence_text() -> str | None:
    """The text of the licence: in a checkout its file, else from the metadata of gdn-ops."""
    root = Path(str(files("gdn_ops"))).parent
    if (root / "pyproject.toml").is_file():
        return (root / "LICENSE").read_text(encoding="utf-8")
    try:
        return distribution("gdn-ops").read_text("licenses/LICENSE")
    except PackageNotFoundError:
        return None


def json_bytes(value: object) -> bytes:
    """JSON whose bytes depend on the value only."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def templates_hash() -> str:
    """A hash of all templates, sha256 in hexadecimal digits."""
    root, found = Path(str(files("gdn_ops"))) / "templates", hashlib.sha256()
    for path in sorted(root.rglob("*.jinja")):
        name = path.relative_to(root).as_posix()
        found.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def _target_facts(target: Target, aliases: list[str]) -> dict[str, Any]:
    return {
        "name": target.name,
        "vendor": target.vendor,
        "arch": target.arch,
        "sms": target.sms or None,
        "memory": target.memory or None,
        "bandwidth": target.bandwidth or None,
        "l2": target.l2 or None,
        "shared_memory_per_block": target.shared_block or None,
        "aliases": aliases,
    }
