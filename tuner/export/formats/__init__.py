"""The formats of exports; a new one is a module as ``Format`` says, and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.formats import cubin, hf, t4, table, wheel, winners


class Format(Protocol):
    """A module of this folder."""

    @property
    def SOUND(self) -> str:
        """What is true of an export without faults, after its name."""

    def exported(self, descriptions: Sequence[Description]) -> dict[str, bytes]:
        """The content of each file of the export, by path; see ``folder.write_all``."""

    def summary(self, descriptions: Sequence[Description], files: Mapping[str, bytes]) -> list[str]:
        """What the export has of each target, one line each; not what it has left out."""

    def recognizes(self, path: Path) -> bool:
        """Whether a path is an export of this format, to judge by names."""

    def faults(self, path: Path) -> list[str]:
        """What is wrong with an export; empty if it is as it was written, and can be used."""


FORMATS: Mapping[str, Format] = {
    "wheel": wheel,
    "hf": hf,
    "winners": winners,
    "table": table,
    "t4": t4,
    "cubin": cubin,
}
"""By the name that ``gdn export`` takes."""
