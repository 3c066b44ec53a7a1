"""Finding the exports below a path, to check them."""

from __future__ import annotations

from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.export.formats import FORMATS, Format


def exports_in(path: Path) -> list[tuple[Path, Format]]:
    """The export at a path, or every one in a folder, each with its format.

    Raises:
        InvalidInput: there is none.
    """
    try:
        candidates = sorted(path.iterdir()) if path.is_dir() else [path]
        if not path.exists():
            raise InvalidInput(f"there is nothing at {path}; give the path of an export.")
        found = [(c, f) for c in candidates for f in FORMATS.values() if f.recognizes(c)]
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}; check the path.") from error
    if not found:
        none = " and has none in it" if path.is_dir() else ""
        raise InvalidInput(
            f"{path} is no export of gdn-ops{none}; give what `gdn export` wrote, with the files "
            "that it wrote next to it."
        )
    return found
