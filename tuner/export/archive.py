"""Writing a wheel: a ZIP archive whose bytes depend on its content only."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from datetime import datetime, timezone

from gdn_ops.codegen.errors import InvalidInput

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
EARLIEST = 315532800
"""1980-01-01, the first moment that a ZIP archive can hold, in seconds since 1970."""
LATEST = 4354819198
"""2107-12-31 23:59:58, the last one."""
MODE = 0o100644


def archive(members: Mapping[str, bytes], dist_info: str) -> bytes:
    """Return a wheel with these members and their RECORD.

    Members are sorted, those of ``dist_info`` last, as the standard of wheels recommends. They are
    not compressed, because what a compressor writes depends on its version.

    Args:
        members: content by path.
        dist_info: name of the folder with the metadata.
    """
    record = f"{dist_info}/RECORD"
    order = sorted(members, key=lambda name: (name.startswith(f"{dist_info}/"), name))
    lines = [f"{name},{digest(members[name])},{len(members[name])}" for name in order]
    content = {name: members[name] for name in order}
    content[record] = "".join(f"{line}\n" for line in [*lines, f"{record},,"]).encode()
    moment = _moment()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as wheel:
        for name, data in content.items():
            info = zipfile.ZipInfo(name, moment)
            info.external_attr = MODE << 16
            info.create_system = 3  # Unix, on every system
            wheel.writestr(info, data)
    return file.getvalue()


def digest(data: bytes) -> str:
    """The digest of a member as RECORD has it."""
    value = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={value.decode()}"


def _moment() -> tuple[int, int, int, int, int, int]:
    """The time of every member: ``SOURCE_DATE_EPOCH`` if it is set, else 1980-01-01."""
    text = os.environ.get(EPOCH_VARIABLE) or str(EARLIEST)
    if not text.isdecimal() or int(text) > LATEST:
        raise InvalidInput(
            f"{EPOCH_VARIABLE} is {text[:40]!r}; it must be a whole number of seconds since 1970, "
            f"at most {LATEST}. Set it right or unset it."
        )
    t = datetime.fromtimestamp(max(int(text), EARLIEST), timezone.utc)
    return t.year, t.month, t.day, t.hour, t.minute, t.second
