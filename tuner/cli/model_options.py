"""The options that name a model, shared by every command that takes a workload."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.codegen.mixer import BATCHES, LENGTHS, Use
from gdn_ops.tuner.spaces.workloads import Workload, workload_named

if TYPE_CHECKING:
    from gdn_ops.tuner.spaces.model_types import ModelLayers

MINUTES = 30.0
"""Default time for the problems of a model together."""


def _listed(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The options that name a model and its use; each field is the option of its name."""

    model: Annotated[
        Path | None,
        typer.Option(
            help="The problems of a model's recurrent layers: its folder or config.json, as "
            "transformers and flash-linear-attention write it."
        ),
    ] = None
    lengths: Annotated[
        str | None,
        typer.Option(
            help=f"With --model: tokens of prompts, by default {_listed(LENGTHS)}; '' for none."
        ),
    ] = None
    batches: Annotated[
        str | None,
        typer.Option(
            help="With --model: sequences that are decoded together, by default "
            f"{_listed(BATCHES)}; '' for none."
        ),
    ] = None
    training: Annotated[
        bool,
        typer.Option(
            "--training",
            help="With --model: outputs and gradients of training batches of these lengths and "
            "batches (1 by default), not prefill and decode.",
        ),
    ] = False
    serving: Annotated[
        bool,
        typer.Option(
            "--serving",
            help="With --model: packed prompts with states, and decode on a pool of states, as "
            "vLLM and SGLang call them.",
        ),
    ] = False
    tp: Annotated[
        int | None,
        typer.Option(
            help="With --model: GPUs among which the heads are split (tensor parallelism)."
        ),
    ] = None

    def given(self) -> list[str]:
        """The options that were given, as a user types them."""
        return [f"--{f.name}" for f in fields(self) if getattr(self, f.name) not in (None, False)]

    def typed(self) -> str:
        """The options that were given with their values, to be typed in a shell."""
        values = [(f"--{f.name}", getattr(self, f.name)) for f in fields(self)]
        words = [
            word
            for name, value in values
            if value not in (None, False)
            for word in ([name] if value is True else [name, str(value)])
        ]
        return shlex.join(words)

    def layers(
        self, name: str | None = None, facts: Mapping[str, Any] | None = None
    ) -> ModelLayers | None:
        """The recurrent layers of the model; None without --model.

        Args:
            name: the workload that was named; a model excludes it.
            facts: what the options of a problem say; only a dtype goes with a model.

        Raises:
            InvalidInput: what does not go with the others was given, or the config cannot be used.
            UnknownName: there is no such dtype.
        """
        from gdn_ops.results_path import expanded
        from gdn_ops.tuner.spaces.model_fields import read_fields
        from gdn_ops.tuner.spaces.model_types import layers_of

        facts = facts or {}
        if self.model is None:
            if given := self.given():
                raise InvalidInput(f"{', '.join(given)} is only read with --model; leave it out.")
            return None
        if name is not None:
            raise InvalidInput(
                f"the workload {name!r} and --model {self.model} are given; leave out one of them."
            )
        if others := [fact for fact in facts if fact != "dtype"]:
            raise InvalidInput(
                f"--model {self.model} and options of a problem ({', '.join(others)}) are given; "
                "of these only --dtype goes with a model."
            )
        layers = layers_of(read_fields(expanded(self.model, "--model")), facts.get("dtype"))
        return layers if self.tp is None else layers.split(self.tp)

    def use(self) -> Use:
        """The sizes of the model's calls.

        Raises:
            InvalidInput: a number is malformed or out of range.
        """
        return Use.of(
            _numbers("--lengths", self.lengths),
            _numbers("--batches", self.batches),
            training=self.training,
            serving=self.serving,
        )

    def workload(self, name: str | None) -> Workload | None:
        """The problems of the model, or the workload of a name; None if neither was given.

        Args:
            name: the workload that was named; a model excludes it.

        Raises:
            InvalidInput: both were given, or the config cannot be used.
            UnknownName: there is no workload of this name.
        """
        of_model = self.of_model(name)
        if of_model is not None:
            return of_model
        return None if name is None else workload_named(name)

    def of_model(
        self, name: str | None = None, facts: Mapping[str, Any] | None = None
    ) -> Workload | None:
        """The problems of the model; None without --model. See ``layers``."""
        layers = self.layers(name, facts)
        if layers is None:
            return None
        return Workload(
            layers.model_type, f"{layers} of {layers.model_type}",
            layers.mixer.problems(self.use()), minutes=MINUTES,
        )  # fmt: skip


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers that are separated by commas."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) <= 10):
            raise InvalidInput(
                f"{option} {shown(text)} must be whole numbers with commas between them, e.g. "
                f"{_listed(LENGTHS)}."
            )
    return tuple(map(int, words))
