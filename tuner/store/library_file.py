"""The results database inside an exported wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

from gdn_ops.codegen.errors import ResultsError

SUFFIX = ".whl"
DATABASE = "results.db"


def extract_database(wheel: Path, to: Path) -> None:
    """Write the database of an exported wheel to a file. None of the wheel's code is run.

    Raises:
        ResultsError: the wheel cannot be read, or has no database.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [n for n in archive.namelist() if n.split("/")[1:] == [DATABASE]]
            if len(found) != 1:
                raise ResultsError(
                    f"{wheel} has {len(found)} databases in it, not 1; name a wheel that "
                    "`gdn export wheel` wrote."
                )
            to.write_bytes(archive.read(found[0]))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ResultsError(f"{wheel} cannot be read as a wheel: {error}.") from error
