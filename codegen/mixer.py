"""Mixer: what all calls of one recurrent layer of a model have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.codegen.problem import LARGEST, Problem
from gdn_ops.codegen.rule import Rule

LENGTHS = (2048, 8192)
"""Tokens of a prompt or training sequence, if the user names none."""
BATCHES, TRAINING_BATCHES = (1, 32), (1,)
"""Sequences that are decoded together, or of a training batch, if the user names none."""
POOL_RULES = (Rule("scalar"), Rule("none"))
"""The rules that have functions on a pool of states."""
SHORTEST = 2
"""A sequence of one token is a decode step."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a model is used: the sizes of its calls.

    Args:
        lengths: tokens of a prompt, or with ``training`` of each sequence of a batch.
        batches: sequences that are decoded together, or with ``training`` of a batch.
        training: pose the problems of training, outputs and gradients, instead of those of
            inference.
        serving: pose the problems of inference as serving engines do: packed prompts with states,
            and decode steps on a pool of states.

    Raises:
        InvalidInput: there is neither a length nor a batch, training lacks one of them or is
            combined with serving, or a size is out of range.
    """

    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    training: bool = False
    serving: bool = False

    @classmethod
    def of(
        cls,
        lengths: Iterable[int] | None = None,
        batches: Iterable[int] | None = None,
        *,
        training: bool = False,
        serving: bool = False,
    ) -> Use:
        """The use that a user describes; see ``LENGTHS`` and ``BATCHES`` for what is left out."""
        usual = TRAINING_BATCHES if training else BATCHES
        return cls(
            lengths=LENGTHS if lengths is None else tuple(lengths),
            batches=usual if batches is None else tuple(batches),
            training=training,
            serving=serving,
        )

    def __post_init__(self) -> None:
        for name, least, sizes in (
            ("lengths", SHORTEST, self.lengths),
            ("batches", 1, self.batches),
        ):
            if not sizes and (self.training or not (self.lengths or self.batches)):
                raise InvalidInput(f"{name} is empty; give at least one number.")
            for size in sizes:
                if type(size) is not int or not least <= size <= LARGEST:
                    raise InvalidInput(
                        f"{shown(size)} in {name} must be a whole number >= {least} and <= "
                        f"{LARGEST}."
                    )
        if self.training and self.serving:
            raise InvalidInput("training and serving are two uses of a model; give one of them.")
        if self.training and max(self.lengths) * max(self.batches) > LARGEST:
            raise InvalidInput(
                f"a training batch of {max(self.batches)} sequences of {max(self.lengths)} tokens "
                f"has more than {LARGEST} tokens; give smaller lengths or batches."
            )


@dataclass(frozen=True, kw_only=True)
class Mixer:
    """What all calls of one recurrent layer of a model have in common.

    Args:
        H, HV: query/key heads and value heads.
        K, V: head dims of q/k and of v.
        dtype: element type of q, k and v, as in ``Problem``.
        rule: the recurrence.
        raw_gate: whether g is raw, with A_log and dt_bias.
        gate_dtype, beta_dtype: element types of g and beta as the kernels get them.
        state_dtype: element type of a pool of states.
    """

    H: int
    HV: int
    K: int
    V: int
    dtype: str
    rule: Rule = field(default_factory=Rule)
    raw_gate: bool = False
    gate_dtype: str = "fp32"
    beta_dtype: str = "fp32"
    state_dtype: str = "fp32"

    def problems(self, use: Use) -> tuple[Problem, ...]:
        """The problems of the layer's calls: prefill and decode, or a training step.

        Raises:
            InvalidInput: the heads or head dims are not allowed.
        """
        return tuple(dict.fromkeys(self._training(use) if use.training else self._inference(use)))

    def _inference(self, use: Use) -> Iterator[Problem]:
        for length in use.lengths:
            alone = replace(self._problem("forward", length, 1), final_state=True)
            yield replace(alone, varlen=True, initial_state=True) if use.serving else alone
        for batch in use.batches:
            if use.serving and self.rule in POOL_RULES:
                yield self._on_a_pool(batch)
            else:
                yield replace(
                    self._problem("decode", batch, batch), initial_state=True, final_state=True
                )

    def _on_a_pool(self, batch: int) -> Problem:
        """A decode step from raw gates, as ``gdn_ops.serving`` has it."""
        raw = self.rule.gate != "none"
        return replace(
            self._problem("decode", batch, batch), op="pool", initial_state=True, final_state=True,
            gate_in_kernel=raw, dt_bias=raw, state_v_first=True, qk_l2norm=True, beta_sigmoid=True,
            state_dtype=self.state_dtype,
        )  # fmt: skip

    def _training(self, use: Use) -> Iterator[Problem]:
        for batch in use.batches:
            for length in use.lengths:
                forward = self._problem("forward", length * batch, batch)
                yield forward
                yield forward.backward(final_state=False)

    def _problem(self, op: str, tokens: int, sequences: int) -> Problem:
        return Problem(
            op=op, H=self.H, HV=self.HV, K=self.K, V=self.V, dtype=self.dtype, rule=self.rule,
            tokens=tokens, sequences=sequences, gate_in_kernel=self.raw_gate,
            dt_bias=self.raw_gate,
        )  # fmt: skip

    def split(self, devices: int) -> Mixer:
        """The part of the layer on each device, with its heads split among several.

        Raises:
            InvalidInput: the heads cannot be split evenly.
        """
        if type(devices) is not int or devices < 1 or self.H % devices or self.HV % devices:
            raise InvalidInput(
                f"H={self.H} query/key heads and HV={self.HV} value heads cannot be split among "
                f"{shown(devices)} devices; give a number that divides both."
            )
        return replace(self, H=self.H // devices, HV=self.HV // devices)


def problems_of(mixers: Iterable[Mixer], use: Use) -> tuple[Problem, ...]:
    """The problems of several layers, each once."""
    return tuple(dict.fromkeys(p for mixer in mixers for p in mixer.problems(use)))
