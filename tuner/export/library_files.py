"""The files of a library's package: the run-time part, the rendered kernels, and the proof."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.sources.files import INDEX
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.library import Names, json_bytes, library_facts
from gdn_ops.tuner.export.rendering import rendered
from gdn_ops.tuner.export.winners_database import winners_database


def library_files(
    description: Description, names: Names, code: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Content by path in the package.

    Args:
        code: the run-time part, by path.

    Raises:
        ResultsError: a winner cannot be copied.
    """
    sources = rendered(description)
    return {
        **code,
        "results.db": winners_database(description),
        "library.json": json_bytes(library_facts(description, names)),
        "rendered/__init__.py": b'"""The rendered sources of this library."""\n',
        f"rendered/{INDEX}": json_bytes(sources.index()),
        **{f"rendered/{file}.py": text.encode() for file, text in sources.sources.items()},
    }
