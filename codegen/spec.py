"""KernelSpec: one template with its axes, arguments, grid, and reasons to refuse a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from gdn_ops.codegen.axis import Axis, Config, Value, defaults
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.gluon import gluon_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import RuleText, text_of
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import TENSORS, Sizes

NamesOf = Callable[[Problem, Config], tuple[str, ...]]
ReasonsOf = Callable[[Problem, Config, Target], list[str]]
GridOf = Callable[[Problem, Config, Sizes], tuple[int, ...]]
ContextOf = Callable[[Problem, Config], Mapping[str, object]]
DefaultsOf = Callable[[Problem], Mapping[str, Value]]
BoundsOf = Callable[[Problem, Config, Sizes], Mapping[str, int]]
BlocksOf = Callable[[Problem, Config], Mapping[str, tuple[int, int]]]

COMPILED = ("triton", "gluon")
"""The languages that Triton compiles for a GPU."""


def _no_reasons(problem: Problem, config: Config, target: Target) -> list[str]:
    return []


def _no_context(problem: Problem, config: Config) -> Mapping[str, object]:
    return {}


def _no_changes(problem: Problem) -> Mapping[str, Value]:
    return {}


def _no_names(problem: Problem, config: Config) -> tuple[str, ...]:
    return ()


def _no_blocks(problem: Problem, config: Config) -> Mapping[str, tuple[int, int]]:
    return {}


def _no_grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return ()


def _tokens(problem: Problem, config: Config, sizes: Sizes) -> Mapping[str, int]:
    return {"T": sizes.length}


@dataclass(frozen=True, kw_only=True)
class KernelSpec:
    """One template and everything the tuner, the launcher and the tests must know about it.

    Args:
        name: the stage, and the name of the rendered function.
        template: the file under ``templates/`` without ``.py.jinja``, e.g. ``triton/scan``; stages
            may share one. Its folder is the language: ``triton``, ``gluon`` or ``torch``.
        doc: what the stage computes, in one line; a text, or one per rule, see ``text_of``.
        equation: the maths, for the rendered file's docstring; likewise.
        axes: the stage's own axes.
        shared: names of the plan's interface axes that the template reads.
        inputs: names in ``TENSORS`` that the function reads, in the order of its parameters.
        outputs: names that it writes; parameters after the inputs, or return values (torch).
        scalars: run-time numbers after the tensors: ``T``, ``scale``.
        problem_scalars: further run-time numbers, which depend on the problem.
        grid: the number of programs in each dimension; not for torch.
        context: template variables derived from problem and config.
        refusals: the stage's own reasons why a config cannot run; see ``reasons``.
        problem_defaults: values that replace the axes' defaults for a problem; see ``default``.
        loop_bounds: what a sequence's loops depend on at run time, by its name in the rendered
            source, e.g. ``T``, the tokens of a sequence of average length. The cost model counts
            the passes of loops with it.
        archs: the architectures that a Gluon stage is written for, e.g. ``sm_90``.
        blocks: rows and columns of the tiles that a Gluon stage copies with tensor descriptors, by
            name of the tensor, which counts as a matrix with one row per token; see ``parameters``.
        sums_only: whether a stage of plain PyTorch only adds up parts of gradients. The cost model
            predicts it on a GPU by its bytes.
        cpp: whether the rendered file has C++ (SOURCE) that the machine which runs it compiles; the
            first parameter of the function is the library that it compiles to.
        program_kinds: the kinds of programs of a Gluon stage, which share its launch and run
            different partitions.
    """

    name: str
    template: str
    doc: RuleText
    equation: RuleText
    axes: tuple[Axis, ...]
    inputs: NamesOf
    outputs: NamesOf
    shared: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    problem_scalars: NamesOf = field(default=_no_names)
    grid: GridOf = _no_grid
    context: ContextOf = field(default=_no_context)
    refusals: ReasonsOf = field(default=_no_reasons)
    problem_defaults: DefaultsOf = field(default=_no_changes)
    loop_bounds: BoundsOf = field(default=_tokens)
    archs: tuple[str, ...] = ()
    blocks: BlocksOf = field(default=_no_blocks)
    sums_only: bool = False
    program_kinds: int = 1
    cpp: bool = False

    @cached_property
    def language(self) -> str:
        """The language of the rendered file: ``triton``, ``gluon`` or ``torch``."""
        return self.template.split("/")[0]

    @cached_property
    def compiled(self) -> bool:
        """Whether Triton compiles the rendered file for a GPU."""
        return self.language in COMPILED

    @cached_property
    def precisions(self) -> tuple[Axis, ...]:
        """The axes that set the precision of matrix products."""
        return tuple(axis for axis in self.axes if axis.precision)

    def maths(self, problem: Problem) -> str:
        """The equation for a problem's rule, indented by four spaces."""
        return text_of(self.equation, problem.rule).strip("\n").rstrip()

    def summary(self, problem: Problem) -> str:
        """What the stage computes by a problem's rule, in one line."""
        return text_of(self.doc, problem.rule)

    def arguments(self, problem: Problem, config: Config) -> tuple[str, ...]:
        """Names of what the rendered function is given, in order."""
        tensors = self.inputs(problem, config)
        if self.compiled:
            tensors += self.outputs(problem, config)
        return tensors + self.scalars + self.problem_scalars(problem, config)

    def parameters(self, problem: Problem, config: Config) -> tuple[str, ...]:
        """Parameter names of the rendered function, in order.

        A tensor with ``blocks`` is given as a tensor descriptor, named ``d_`` and the tensor's
        name. An output with a row per token is also given as a pointer: a descriptor cannot store
        the part of a block that belongs to a sequence.
        """
        described = self.blocks(problem, config)
        pointers = {x for x in self.outputs(problem, config) if "T" in TENSORS[x].shape}
        return tuple(
            name
            for argument in self.arguments(problem, config)
            for name in (
                *([f"d_{argument}"] if argument in described else []),
                *([argument] if argument not in described or argument in pointers else []),
            )
        )

    def shaping(self, config: Config) -> dict[str, Value]:
        """The axis values that shape the stage's source: all but those of launch axes."""
        names = [*self.shared, *(axis.name for axis in self.axes if not axis.launch)]
        return {name: config[name] for name in names}

    def label(self, config: Config) -> str:
        """The axis values that shape the stage's source, e.g. ``BT=64 BH=8``."""
        values = self.shaping(config).items()
        return " ".join(f"{name}={value}" for name, value in values) or "no axes"

    def default(self, problem: Problem) -> dict[str, Value]:
        """The conservative config of the stage's own axes for a problem."""
        config = defaults(self.axes)
        for axis in self.precisions:
            if axis.default == "native" and problem.dtype == "fp32":
                config[axis.name] = "ieee"
        return {**config, **self.problem_defaults(problem)}

    def reasons(self, problem: Problem, config: Config, target: Target) -> list[str]:
        """Why this config cannot run the problem on the target; empty if it can.

        This is the only such check: the tuner prunes by it, the dispatcher reports it, and tests
        enumerate it.

        Args:
            config: a value for every axis the stage sees, its own and the plan's.
        """
        reasons = []
        if self.language == "triton" and not target.gpu:
            reasons.append(f"{self.name} is a Triton kernel and target {target.name} is not a GPU")
        if self.language == "gluon":
            reasons += gluon_reasons(self.name, self.archs, target)
        if config.get("store") == "fp32" and problem.dtype == "fp32":
            reasons.append("store=fp32 is the same as store=io for fp32 q, k, v")
        for axis in self.precisions:
            if config[axis.name] == "native" and problem.dtype == "fp32":
                reasons.append(f"{axis.name}=native needs 16-bit q, k, v; they are fp32")
            if self.compiled:
                reasons += _precision_reasons(axis, problem, config, target)
        if config.get("loads") == "descriptor":
            reasons += _descriptor_reasons(problem, target)
        return reasons + self.refusals(problem, config, target)


def _precision_reasons(axis: Axis, problem: Problem, config: Config, target: Target) -> list[str]:
    name, precision, reasons = axis.name, config[axis.name], []
    if precision == "native" and config.get("store") == "fp32":
        reasons.append(f"{name}=native would round what store=fp32 keeps")
    # only an axis that offers native multiplies 16-bit tiles
    tiles_16 = "native" in axis.values and problem.dtype != "fp32"
    if precision == "ieee" and tiles_16 and target.capability >= 100:
        # seen in the PTX of Triton 3.6 and 3.7; triton issue 10176
        reasons.append(f"{name}=ieee of 16-bit tiles is compiled to tf32 for {target.arch}")
    if precision == "tf32" and problem.dtype == "fp32":
        reasons.append(f"{name}=tf32 keeps 11 bits of fp32 q, k, v; use tf32x3 or ieee")
    if precision in ("tf32", "tf32x3") and target.vendor == "amd":
        reasons.append(f"{name}={precision} needs NVIDIA tensor cores; {target.name} is AMD")
    return reasons


def _descriptor_reasons(problem: Problem, target: Target) -> list[str]:
    reasons = []
    if not target.descriptors:
        reasons.append(
            f"loads=descriptor needs TMA (sm_90 or newer); {target.name} is {target.arch}"
        )
    size = DTYPES[problem.dtype].bytes
    for name, dim in (("K", problem.K), ("V", problem.V)):
        if dim * size % 16:
            reasons.append(
                f"loads=descriptor needs rows of a multiple of 16 bytes; {name}={dim} in "
                f"{problem.dtype} is {dim * size} bytes"
            )
    return reasons
