"""What a node says about itself before anything else runs there.

Ray sends this module to the nodes as code, because a node may have another gdn-ops, or none. So
it imports nothing of gdn-ops.
"""

from __future__ import annotations

import hashlib
import os
import re
from importlib.util import find_spec
from pathlib import Path

VERSION, FILES = "gdn-ops", "files"
"""Keys of the facts: the version of gdn-ops, and a hash of its files."""


def node_facts() -> dict[str, str]:
    """The version of gdn-ops here and the hash of its files; both are empty if it is missing."""
    spec = find_spec("gdn_ops")
    if spec is None or not spec.submodule_search_locations:
        return {VERSION: "", FILES: ""}
    root = Path(next(iter(spec.submodule_search_locations)))
    text = (root / "_version.py").read_text()
    version = re.search(r'__version__ = "(.+)"', text)
    return {VERSION: version[1] if version else "", FILES: _files_hash(root)}


def _files_hash(root: Path) -> str:
    """A hash of the package's code and templates, which a checkout has behind links."""
    found = hashlib.sha256()
    paths = [
        Path(folder) / name
        for folder, _, names in os.walk(root, followlinks=True)
        for name in names
        if name.endswith((".py", ".jinja"))
    ]
    for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]
