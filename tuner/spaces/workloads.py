"""Workloads: named lists of problems to tune, and problems that a user describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, UnknownName, shown
from gdn_ops.codegen.problem import LARGEST, OPS, Problem
from gdn_ops.record.file import COUNT, MOST
from gdn_ops.tuner.data_file import read_data
from gdn_ops.tuner.spaces.common import common_problems
from gdn_ops.tuner.spaces.problems import KDA, decode, pool, prefill, training


@dataclass(frozen=True)
class Workload:
    """Problems that are tuned together.

    Args:
        minutes: default time for all problems together.
        trials: default number of configs tried in each space.
        check_kernels: on a machine without a GPU, also check the Triton kernels at the end.
        counts: calls of each problem, as ``gdn_ops.recording`` counts them; empty if unknown.
    """

    name: str
    doc: str
    problems: tuple[Problem, ...]
    minutes: float = 30.0
    trials: int = 40
    check_kernels: bool = False
    counts: tuple[int, ...] = ()

    def bucket_counts(self) -> dict[str, int] | None:
        """The calls of each bucket by its id; None if they are unknown."""
        if not self.counts:
            return None
        found: Counter[str] = Counter()
        for problem, count in zip(self.problems, self.counts, strict=True):
            found[problem.bucket().id()] += count
        return dict(found)


def buckets(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The buckets of some problems, each once. Buckets are tuned, not problems with exact sizes."""
    return tuple(dict.fromkeys(problem.bucket() for problem in problems))


QWEN35_HEADS = ((16, 64), (16, 32), (16, 48), (16, 16))
"""(H, HV) of the Qwen3.5 models: 397B and 122B; 35B, 9B and 4B; 27B; 2B and 0.8B."""

_TINY: dict[str, Any] = {"H": 1, "HV": 2, "K": 16, "V": 16, "dtype": "fp32"}

WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        Workload(
            "quickstart",
            "prefill, decode and gradients of Qwen3-Next's heads, fp32 and bf16, in a few minutes",
            (
                decode(sequences=8, dtype="fp32"),
                decode(sequences=8, dtype="bf16"),
                prefill(tokens=512, dtype="fp32"),
                prefill(tokens=512, dtype="bf16"),
                prefill(tokens=2048, dtype="fp32"),
                prefill(tokens=2048, dtype="bf16"),
                training(tokens=1024, dtype="fp32"),
                training(tokens=1024, dtype="bf16"),
            ),
            minutes=2.0,
            trials=24,
            check_kernels=True,
        ),
        Workload(
            "prefill",
            "prompts of 1 K to 32 K tokens, alone and packed",
            (
                *(prefill(tokens=tokens) for tokens in (1024, 4096, 8192, 32768)),
                prefill(tokens=8192, sequences=8, varlen=True),
                prefill(tokens=8192, initial_state=True),
            ),
        ),
        Workload(
            "decode",
            "one token for 1 to 256 sequences",
            tuple(decode(sequences=sequences) for sequences in (1, 8, 32, 64, 256)),
        ),
        Workload(
            "serving",
            "decode and verification of 3 drafts on a pool of states, for 1 to 256 sequences",
            (
                *(pool(sequences=sequences) for sequences in (1, 8, 32, 64, 256)),
                *(pool(sequences=sequences, state_dtype="fp32") for sequences in (8, 64)),
                *(pool(sequences=sequences, drafts=3) for sequences in (8, 64)),
            ),
        ),
        Workload(
            "train",
            "outputs and gradients of training batches, alone and packed",
            (
                *(prefill(tokens=tokens, final_state=False) for tokens in (8192, 32768)),
                *(training(tokens=tokens) for tokens in (8192, 32768)),
                prefill(tokens=16384, sequences=8, varlen=True, final_state=False),
                training(tokens=16384, sequences=8, varlen=True),
            ),
        ),
        Workload(
            "qwen3.5",
            "the head geometries of every Qwen3.5 model, prefill and decode",
            (
                *(prefill(tokens=8192, H=H, HV=HV) for H, HV in QWEN35_HEADS),
                *(decode(sequences=32, H=H, HV=HV) for H, HV in QWEN35_HEADS),
            ),
        ),
        Workload(
            "kda",
            "prefill, decode and gradients of Kimi delta attention, with a gate per key channel",
            (
                *(prefill(tokens=tokens, **KDA) for tokens in (1024, 8192)),
                prefill(tokens=8192, sequences=8, varlen=True, **KDA),
                *(decode(sequences=sequences, **KDA) for sequences in (1, 32)),
                training(tokens=8192, **KDA),
            ),
        ),
        Workload(
            "common",
            "a few problems of every kind of call; shipped predictions are of these",
            buckets(common_problems()),
            minutes=240.0,
        ),
        Workload(
            "tiny",
            "two problems that are tuned in seconds, to try the tuner",
            (prefill(tokens=64, **_TINY), decode(sequences=2, **_TINY)),
            minutes=0.5,
            trials=6,
        ),
    )
}


def workload_named(name: str) -> Workload:
    """The workload of a name, or of a JSON or TOML file of problems.

    Raises:
        UnknownName: it is neither the name of a workload nor that of a JSON or TOML file.
        InvalidInput: the file does not contain problems.
    """
    if name in WORKLOADS:
        return WORKLOADS[name]
    path = Path(name)
    if path.suffix in (".json", ".toml"):
        return read_workload(path)
    raise UnknownName.of("workload", name, WORKLOADS)


def read_workload(path: Path) -> Workload:
    """Read a file of problems: a list (JSON), or a list named ``problems`` (JSON or TOML).

    Each problem has facts of ``Problem``; op, sequences, gate and flags may be left out. It may
    also have ``count``, its calls, as a recording has.
    """
    data = read_data(path, kind="workload")
    rows = data.get("problems") if isinstance(data, Mapping) else data
    if rows == []:
        raise InvalidInput(f"the list of problems in {path} is empty; give at least one problem.")
    if not isinstance(rows, list):
        raise InvalidInput(f"{path} has no list of problems; see `gdn tune --help`.")
    counted = []
    for number, row in enumerate(rows, 1):
        try:
            facts, count = _split_count(row)
            counted.append((problem_of(facts), count))
        except (InvalidInput, UnknownName) as error:
            raise type(error)(f"problem {number} of {path}: {error}") from error
    problems = tuple(problem for problem, _ in counted)
    counts = tuple(count or 1 for _, count in counted) if any(n for _, n in counted) else ()
    return Workload(path.stem, f"problems of {path}", problems, counts=counts)


def _split_count(row: Any) -> tuple[Any, int | None]:
    """The facts of a problem in a file, and its calls if they are given."""
    if not isinstance(row, Mapping) or COUNT not in row:
        return row, None
    count = row[COUNT]
    if type(count) is not int or not 1 <= count <= MOST:
        raise InvalidInput(
            f"{COUNT}={shown(count)} of a problem must be a whole number of calls >= 1 and <= "
            f"{MOST}."
        )
    return {name: value for name, value in row.items() if name != COUNT}, count


def problem_of(given: Any) -> Problem:
    """A problem from facts that a user gave; by default a prefill with a scalar gate.

    Raises:
        InvalidInput: a fact is missing, has the wrong type, or is not allowed.
        UnknownName: a fact does not exist.
    """
    if not isinstance(given, Mapping):
        raise InvalidInput(
            f"a problem is a table of facts such as H and tokens, not {shown(given)}."
        )
    kinds = {f.name: str(f.type) for f in fields(Problem) if f.name != "rule"}
    kinds |= {"gate": "str", "delta": "bool"}
    for name, value in given.items():
        if name in OPS:
            raise InvalidInput(
                f'unknown fact of a problem {name!r}, which is an op; write "op": "{name}".'
            )
        if name not in kinds:
            raise UnknownName.of("fact of a problem", name, kinds)
        if type(value).__name__ != kinds[name]:
            raise InvalidInput(f"{name}={shown(value)} of a problem is not of type {kinds[name]}.")
        if type(value) is int and value > LARGEST:
            raise InvalidInput(
                f"{name}={shown(value)} of a problem must be <= {LARGEST}, because kernels "
                "use 32-bit indices."
            )
    facts = {"op": "forward", "gate": "scalar", "delta": True, "sequences": 1, **given}
    if facts["op"] in ("decode", "pool"):
        facts.setdefault("tokens", facts["sequences"])
    needed = ("H", "HV", "K", "V", "dtype", "tokens")
    if missing := [name for name in needed if name not in facts]:
        raise InvalidInput(
            f"the problem {shown(dict(given))} has no {', '.join(missing)}; add them."
        )
    problem = Problem.from_facts(facts)
    _check_sizes(problem)
    _check_gate(problem)
    return problem


def _check_sizes(problem: Problem) -> None:
    tokens, sequences = problem.tokens, problem.sequences
    if tokens < 1 or sequences < 1:
        raise InvalidInput(f"{tokens} tokens in {sequences} sequences: give at least 1 of each.")
    if problem.op == "decode" and tokens != sequences:
        raise InvalidInput(
            f"decode has one token per sequence, not {tokens} tokens in {sequences} sequences; "
            "leave out tokens."
        )
    if not problem.varlen and tokens % sequences:
        raise InvalidInput(
            f"{tokens} tokens cannot be divided into {sequences} equal sequences; change one of "
            "them, or pack the sequences with varlen."
        )


def _check_gate(problem: Problem) -> None:
    if problem.gate_in_kernel and problem.rule.gate == "none":
        raise InvalidInput(
            f"gate_in_kernel (--raw-gate) is given for a rule without a gate, {problem.rule.name}; "
            "leave it out, or choose another gate."
        )
    if problem.dt_bias and not problem.gate_in_kernel:
        raise InvalidInput(
            "dt_bias belongs to a raw gate, but gate_in_kernel is not given; give both or neither."
        )
