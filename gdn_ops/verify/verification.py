"""Verification: what is known of a variant on a device, with its driver and compilers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from math import isfinite

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.codegen.variant_text import with_short_id
from gdn_ops.sources import origin
from gdn_ops.toolchain import driver_version, ptxas_version, triton_version

Key = tuple[str, ...]

STORED = ("ok", "invalid", "compile-error", "wrong", "nondeterministic", "timeout", "crash")
"""Results that hold for other processes, too. Others, such as too little memory, are of the
moment."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a verification holds: a device and what makes its machine code.

    Args:
        device: the target's name.
        sms: streaming multiprocessors or compute units.
        memory: bytes of device memory; 0 if unknown.
        driver, triton, ptxas: versions; None if unknown or if the device has none.
    """

    device: str
    arch: str
    sms: int
    memory: int
    driver: str | None
    triton: str | None
    ptxas: str | None

    @classmethod
    def of(cls, target: Target) -> Place:
        """This machine's place of a target that is one of its GPUs."""
        return cls(
            device=target.name,
            arch=target.arch,
            sms=target.sms,
            memory=target.memory,
            driver=driver_version(),
            triton=triton_version(),
            ptxas=ptxas_version(target.arch),
        )

    def __str__(self) -> str:
        tools = (("driver", self.driver), ("Triton", self.triton), ("ptxas", self.ptxas))
        return ", ".join(
            [f"{self.device} ({self.arch})", *(f"{name} {x}" for name, x in tools if x)]
        )


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of the check of one variant.

    Args:
        problem: ``Problem.sizeless_id()``; kernels do not depend on sizes.
        variant: id of the variant.
        text: the variant as ``variant_text`` spells it.
        code: hash of the code of its stages.
        status: ``ok``, or how it failed, as the status of a trial.
        message: why it failed, or which case came closest to its limit.
        errors: the largest error of each output.
        created: when, ISO 8601, UTC.
    """

    place: Place
    problem: str
    variant: str
    text: str
    code: str
    status: str
    message: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    created: str = ""

    @property
    def named(self) -> str:
        """The variant as people read it."""
        return with_short_id(self.text, self.variant)

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def key(self) -> Key:
        return key_of(self.place, self.problem, self.variant, self.code)

    def to_json(self) -> str:
        """One line of the file of verifications."""
        facts = asdict(self)
        facts["errors"] = {name: x for name, x in self.errors.items() if isfinite(x)}
        return json.dumps(facts, allow_nan=False, sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> Verification | None:
        """Read what ``to_json`` wrote; None if it is damaged or of another version."""
        try:
            facts = json.loads(line)
            place = Place(**facts.pop("place"))
            found = cls(place=place, **facts)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        texts = [getattr(found, f.name) for f in fields(cls) if f.name not in ("place", "errors")]
        sound = all(isinstance(text, str) for text in texts) and isinstance(found.errors, dict)
        return found if sound and found.status in STORED else None


def key_of(place: Place, problem: str, variant: str, code: str) -> Key:
    """What two verifications of the same thing have in common."""
    return (*(str(x) for x in asdict(place).values()), problem, variant, code)


def code_of(problem: Problem, variant: Variant) -> str:
    """A hash of the code of all stages.

    Raises:
        TemplateError: a stage does not render.
    """
    hashes = json.dumps(origin().hashes(problem.without_sizes(), variant), sort_keys=True)
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
