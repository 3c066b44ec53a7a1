"""Short name: a name that fits a length limit and is still unique."""

from __future__ import annotations

import re
from hashlib import sha256

_DIGITS = 8
"""Hexadecimal digits of the digest that replaces what is cut off."""


def short_name(name: str, limit: int) -> str:
    """The name, or its beginning and a digest of the whole if it has more characters."""
    return name if len(name) <= limit else f"{name[: limit - _DIGITS - 1]}-{_digest(name)}"


def slug(name: str, limit: int) -> str:
    """The name in lower-case ASCII letters, digits and hyphens, at most ``limit`` characters.

    A name that loses more than case, spaces and underscores gets a digest, so that two names never
    share a slug.
    """
    plain = re.sub(r"[ _-]+", "-", name.lower())
    kept = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if kept != plain:
        kept = f"{kept}-{_digest(name)}".lstrip("-")
    return short_name(kept, limit)


def _digest(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
