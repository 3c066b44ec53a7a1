"""Files of data that a user writes, in TOML or JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput


def read_data(path: Path, *, kind: str) -> Any:
    """The content of a file: JSON if it is called so, else TOML.

    Args:
        kind: what the file is for, as messages name it, e.g. ``workload``.

    Raises:
        InvalidInput: the file cannot be read or parsed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"cannot read the {kind} file {path}: {error}; check the path."
        ) from error
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{path} is not JSON: {error}; correct the file.") from error
    if sys.version_info < (3, 11):
        raise InvalidInput(f"reading {path} needs Python 3.11 or newer; write it as JSON.")
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}; correct the file.") from error
