"""The attributes that an integration replaced in another library, and putting them back."""

from __future__ import annotations

from typing import Any


class Swap:
    """What an integration replaced; as a context manager it restores the originals at the end.

    Args:
        originals: the owner, the name and the original value of each replaced attribute.
    """

    def __init__(self, originals: list[tuple[Any, str, Any]]) -> None:
        self._originals = originals

    def restore(self) -> None:
        """Restore the original functions; a second call does nothing."""
        while self._originals:
            owner, name, original = self._originals.pop()
            setattr(owner, name, original)

    def __enter__(self) -> Swap:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
