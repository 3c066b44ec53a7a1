"""Names from a database as parts of file names."""

from __future__ import annotations

import re

from gdn_ops.codegen.errors import InvalidInput

LONGEST = 80
"""Characters of one name."""
LONGEST_FILE = 240
"""Characters of a file name; most file systems allow 255 bytes."""


def plain(name: str, what: str) -> str:
    """A device's or target's name as vLLM writes it: with ``_`` for spaces, slashes and dashes.

    Any other character that is not a letter, a digit or one of ``_.+()@`` is dropped.

    Raises:
        InvalidInput: the name is too long, or no letter or digit is left.
    """
    text = re.sub(r"[^A-Za-z0-9_.+()@]", "", re.sub(r"[\s/-]+", "_", name)).lstrip(".")
    if not re.search("[A-Za-z0-9]", text) or len(name) > LONGEST:
        raise InvalidInput(
            f"{what} {name[:LONGEST]!r} cannot be part of a file name; it must have a letter or a "
            f"digit, and at most {LONGEST} characters. Leave it out with --target."
        )
    return text


def json_file(*parts: str) -> str:
    """The name of a JSON file from its parts, joined by commas.

    Raises:
        InvalidInput: it is too long.
    """
    name = f"{','.join(parts)}.json"
    if len(name) > LONGEST_FILE:
        raise InvalidInput(
            f"the file name {name[:LONGEST_FILE]}... is too long; the names of a problem's sizes "
            f"and device may take {LONGEST_FILE} characters. Leave the problem out."
        )
    return name
