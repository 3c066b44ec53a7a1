"""The fields of a model's config.json, each checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose, isfinite
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.codegen.problem import LARGEST, MAX_HEAD_DIM
from gdn_ops.tuner.data_file import read_data

FILE = "config.json"
NESTED = ("text_config", "language_config", "llm_config")
"""Where models for text and images keep the config of their language model."""
INSTEAD = "--H, --HV, --K, --V and --dtype of `gdn tune` describe a layer instead"


class Fields:
    """The fields of a config.

    Args:
        path: the file that they are from, for messages.
        data: the fields by name.
        outer: the fields of the config around it, for what the inner one leaves out.
    """

    def __init__(
        self, path: Path, data: Mapping[str, Any], outer: Mapping[str, Any] | None = None
    ) -> None:
        self.path, self.data, self.outer = path, data, outer or {}

    @property
    def model_type(self) -> Any:
        """The type of the model, not checked; None if there is none."""
        return self.data.get("model_type", self.outer.get("model_type"))

    def get(self, name: str) -> Any:
        """A field as it is; None if there is none."""
        return self.data.get(name)

    def size(self, name: str, *, most: int = LARGEST) -> int:
        """A whole number from 1.

        Raises:
            InvalidInput: it is missing, of another type, or out of range.
        """
        value = self._needed(name)
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(name, f"it must be a whole number >= 1 and <= {most}")
        return value

    def size_or(self, name: str, usual: int) -> int:
        """A whole number from 1, or what stands for null or a missing field."""
        return usual if self.get(name) is None else self.size(name)

    def first_size(self, *names: str) -> int:
        """A whole number from 1, from the first of some fields that is not null or missing."""
        return self.size(next((n for n in names if self.get(n) is not None), names[-1]))

    def head_dim(self, name: str) -> int:
        """A head dim that the kernels support."""
        return self.size(name, most=MAX_HEAD_DIM)

    def factor(self, name: str) -> float:
        """A number above 0."""
        value = self._needed(name)
        if type(value) not in (int, float) or not 0 < value <= LARGEST or not isfinite(value):
            raise self.wrong(name, f"it must be a number > 0 and <= {LARGEST}")
        return float(value)

    def flag(self, name: str) -> bool:
        """true or false; false if it is missing."""
        value = self.get(name)
        if value is not None and type(value) is not bool:
            raise self.wrong(name, "it must be true or false")
        return bool(value)

    def table(self, name: str) -> Fields | None:
        """The fields of a table within this one; None for null or if there is none."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.wrong(name, "it must be an object")
        return Fields(self.path, value, self.data)

    def part(self, factor: str, heads: int) -> int:
        """The head dim of a width that is given as a factor of ``hidden_size``."""
        width = self.size("hidden_size") * self.factor(factor)
        if not isclose(width, round(width)) or round(width) % heads or round(width) < heads:
            raise self.wrong(
                factor,
                f"times hidden_size={self.size('hidden_size')} it must give {heads} heads of equal "
                "size",
            )
        return round(width) // heads

    def head_dim_times(self, name: str, factor: str) -> int:
        """The head dim of values, given as a factor of that of keys."""
        width = self.head_dim(name) * self.factor(factor)
        if not isclose(width, round(width), rel_tol=1e-5) or round(width) < 1:
            raise self.wrong(factor, f"times {name}={self.get(name)} it must be a whole number")
        return round(width)

    def wrong(self, name: str, rule: str) -> InvalidInput:
        """The error for the value of a field."""
        return InvalidInput(
            f"{name}={shown(self.get(name))} in {self.path}: {rule}; correct the file, or "
            f"{INSTEAD}."
        )

    def _needed(self, name: str) -> Any:
        if name not in self.data:
            raise InvalidInput(
                f"{self.path} has no {name}, which model_type {shown(self.model_type)} needs; add "
                f"it, or {INSTEAD}."
            )
        return self.data[name]


def read_fields(path: Path) -> Fields:
    """Read the config of a model, or the part of its language model if it has one.

    Args:
        path: a config.json, or a folder with one.

    Raises:
        InvalidInput: it cannot be read, or is not a JSON object.
    """
    if path.is_dir():
        path = path / FILE
    if path.suffix != ".json":
        raise InvalidInput(
            f"--model {path} is neither a folder nor a JSON file; give a model's folder or its "
            f"{FILE}, e.g. from `hf download {shown(str(path))[1:-1]} {FILE}`."
        )
    data = read_data(path, kind="model")
    if not isinstance(data, Mapping):
        raise InvalidInput(f"{path} is not a JSON object; give the {FILE} of a model.")
    fields = Fields(path, data)
    for name in NESTED:
        inner = fields.table(name)
        if inner is not None:
            return inner
    return fields
