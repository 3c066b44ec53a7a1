"""Writing a wheel: a ZIP archive whose bytes depend on its content only."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import zlib
from collections.abc import Mapping
from datetime import datetime, timezone

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.export.deflate import deflated

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
EARLIEST = 315532800
"""1980-01-01, the first moment that a ZIP archive can hold, in seconds since 1970."""
LATEST = 4354819198
"""2107-12-31 23:59:58, the last one."""

STORED, DEFLATED = 0, 8
VERSION = 20
"""The version of the format (2.0) that a reader needs."""
UNIX = 3
MODE = 0o100644


def archive(members: Mapping[str, bytes], dist_info: str) -> bytes:
    """Return a wheel with these members and their RECORD.

    Members are sorted, those of ``dist_info`` last, as the standard of wheels recommends. The
    archive is written here and not by ``zipfile``, so that no version of Python or zlib changes it.

    Args:
        members: content by path, in ASCII.
        dist_info: name of the folder with the metadata.

    Raises:
        InvalidInput: ``SOURCE_DATE_EPOCH`` is not a moment.
    """
    record = f"{dist_info}/RECORD"
    order = sorted(members, key=lambda name: (name.startswith(f"{dist_info}/"), name))
    lines = [f"{name},{digest(members[name])},{len(members[name])}" for name in order]
    content = {name: members[name] for name in order}
    content[record] = "".join(f"{line}\n" for line in [*lines, f"{record},,"]).encode()
    return _zip(content)


def digest(data: bytes) -> str:
    """The digest of a member as RECORD has it."""
    value = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={value.decode()}"


def _zip(content: Mapping[str, bytes]) -> bytes:
    """A ZIP archive with one time and mode for all members."""
    body, directory, moment = bytearray(), bytearray(), _moment()
    for name, data in content.items():
        packed, path = deflated(data), name.encode("ascii")
        method = DEFLATED if len(packed) < len(data) else STORED
        if method == STORED:
            packed = data
        facts = struct.pack(
            "<HHHIIIIHH", VERSION, 0, method, moment, zlib.crc32(data), len(packed), len(data),
            len(path), 0,
        )  # fmt: skip
        place = struct.pack("<HHHII", 0, 0, 0, MODE << 16, len(body))
        directory += b"PK\1\2" + struct.pack("<BB", VERSION, UNIX) + facts + place + path
        body += b"PK\3\4" + facts + path + packed
    count = len(content)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + b"PK\5\6" + end)


def _moment() -> int:
    """The time of every member as ZIP has it: ``SOURCE_DATE_EPOCH`` if set, else 1980-01-01."""
    text = os.environ.get(EPOCH_VARIABLE) or str(EARLIEST)
    if not text.isdecimal() or int(text) > LATEST:
        raise InvalidInput(
            f"{EPOCH_VARIABLE} is {text[:40]!r}; it must be a whole number of seconds since 1970, "
            f"at most {LATEST}. Set it right or unset it."
        )
    t = datetime.fromtimestamp(max(int(text), EARLIEST), timezone.utc)
    date = (t.year - 1980) << 9 | t.month << 5 | t.day
    return date << 16 | t.hour << 11 | t.minute << 5 | t.second // 2
