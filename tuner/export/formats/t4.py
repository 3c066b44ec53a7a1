"""Format t4: every searched space and its trials, in the autotuning community's T4 schema.

There is one file per space and environment, because times of two environments do not compare. Each
is valid against the results schema and the metadata schema of T4. Parameters are described as in
the community's T1 schema.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from gdn_ops._version import __version__
from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.export.constraints import constraints
from gdn_ops.tuner.export.description import Description, LeftOut
from gdn_ops.tuner.export.library import LICENCE, json_bytes, templates_hash
from gdn_ops.tuner.export.manifest import altered, manifest_name, with_manifest
from gdn_ops.tuner.export.plain import json_file, plain
from gdn_ops.tuner.export.searched import FoundTrial, Pairs, SearchedSpace, searched
from gdn_ops.tuner.export.selection import installed_ptxas
from gdn_ops.tuner.report.counted import counted
from gdn_ops.tuner.store.models import canonical_json

NAME = "t4"
SOUND = "is as it was exported, and so is every file that it lists."
SCHEMA_VERSION = "1.0.0"
SCHEMA = "https://github.com/odgaard/TuningSchema/blob/T4/results-schema.json"
OBJECTIVE = "time"
INVALIDITY = {
    "ok": "correct", "invalid": "constraints", "compile-error": "compile", "spill": "compile",
    "wrong": "correctness", "nondeterministic": "correctness", "oom": "runtime",
    "crash": "runtime", "timeout": "timeout",
}  # fmt: skip
"""The word of T4 for each status of a trial; the status itself is in the result too."""
UNITS = {"reference": "s"}
"""The unit of a resource; the others are counts and bytes."""
TYPES = ((bool, "bool"), (int, "int"), (str, "string"))


def exported(descriptions: Sequence[Description]) -> dict[str, bytes]:
    """A file per searched space and environment, and the manifest, by file name.

    Raises:
        InvalidInput: there are no trials.
    """
    files: dict[str, bytes] = {}
    searched_ones: list[Description] = []
    without: list[str] = []
    for description in descriptions:
        spaces = searched(description)
        if spaces:
            searched_ones.append(description)
        else:
            without.append(description.target.name)
        for space in spaces:
            name = _file_name(space)
            if name in files:
                raise InvalidInput(
                    f"two targets make the same file {name}; export them one by one with --target."
                )
            files[name] = json_bytes(_content(space))
    if not files:
        names = ", ".join(description.target.name for description in descriptions)
        raise InvalidInput(
            f"there are no trials for {names}, only winners; export from the database that was "
            "tuned, or run `gdn tune` on the device."
        )
    for name in without:
        sentence = f"target {name} is left out: there are no trials for it, only winners."
        warnings.warn(sentence, LeftOut, stacklevel=2)
    return with_manifest(NAME, files, searched_ones, schema_version=SCHEMA_VERSION, results=SCHEMA)


def summary(descriptions: Sequence[Description], files: Mapping[str, bytes]) -> list[str]:
    """The spaces and trials of each target that has any; see ``Format``."""
    spaces: dict[str, list[int]] = {}
    for name, data in files.items():
        if name != manifest_name(NAME):
            content = json.loads(data)
            target = content["metadata"]["target"]
            spaces.setdefault(target, []).append(len(content["results"]))
    return [
        f"{target}: {counted(len(trials), 'search space')}, {counted(sum(trials), 'trial')}"
        for target, trials in spaces.items()
    ]


def recognizes(path: Path) -> bool:
    return path.name == manifest_name(NAME)


def faults(path: Path) -> list[str]:
    """What is wrong with the files of a folder, given its manifest."""
    return altered(path, NAME)


def _file_name(space: SearchedSpace) -> str:
    facts = (space.fixed, space.environment.hash)
    digest = hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:8]
    stage = "whole" if space.space is None else space.space.stage
    return json_file(
        plain(space.target.name, "target"), space.problem.id(), space.plan, stage, digest
    )


def _content(space: SearchedSpace) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "metadata": _metadata(space),
        "results": [_result(pairs, found) for pairs, found in space.tried],
    }


def _metadata(space: SearchedSpace) -> dict[str, Any]:
    """Hardware and versions where the metadata schema has them, and the space."""
    target, environment = space.target, space.environment
    versions = {
        "torch": environment.torch, "triton": environment.triton, "python": environment.python,
        "gdn-ops": __version__,
    }  # fmt: skip
    return {
        "timeunit": "milliseconds",
        "hardware": {
            "hardware_description": [
                {"device": environment.device, "arch": environment.arch, "sms": target.sms or None}
            ],
            "operating_system": environment.platform,
        },
        "environment": {
            "device_query": {
                "device": environment.device,
                "driver": environment.driver,
                "ptxas": environment.ptxas or installed_ptxas(environment.arch, environment.triton),
                "threads": environment.threads,
                "harness_version": environment.harness_version,
            },
            "requirements": [f"{name}=={x}" for name, x in versions.items() if x is not None],
        },
        "licence": LICENCE,
        "templates": templates_hash(),
        "target": target.name,
        "problem": space.problem.id(),
        "facts": space.problem.facts(),
        "plan": space.plan,
        "stage": None if space.space is None else space.space.stage,
        "ConfigurationSpace": {"TuningParameters": [_parameter(*p) for p in space.parameters]},
        "constraints": constraints(space),
    }


def _parameter(name: str, values: Sequence[Value]) -> dict[str, Any]:
    """A parameter as T1 describes it; its values are the text of a JSON list."""
    word = next(word for kind, word in TYPES if all(isinstance(x, kind) for x in values))
    return {"Name": name, "Type": word, "Values": canonical_json(list(values))}


def _result(pairs: Pairs, found: FoundTrial) -> dict[str, Any]:
    trial, outcome = found.trial, found.trial.outcome
    ok = outcome.status == "ok"
    return {
        "timestamp": trial.created.isoformat(timespec="microseconds"),
        "configuration": dict(pairs),
        "times": {"runtimes": [_milliseconds(x) for x in outcome.samples]},
        "invalidity": INVALIDITY[outcome.status],
        "correctness": int(ok),
        "measurements": list(_measurements(found)),
        "objectives": [OBJECTIVE],
        "status": outcome.status,
        "message": outcome.message.partition("\n")[0][:200],
        "method": outcome.method,
        "sources": dict(trial.sources or {}),
        "database": found.database,
        "trial": trial.id,
    }


def _measurements(found: FoundTrial) -> Iterable[dict[str, Any]]:
    """The objective (of a failed trial its status), the interval, errors and resources."""
    outcome = found.trial.outcome
    if outcome.status != "ok":
        yield {"name": OBJECTIVE, "value": outcome.status, "unit": ""}
    times = {OBJECTIVE: outcome.median, "time.low": outcome.low, "time.high": outcome.high}
    for name, seconds in times.items():
        if outcome.status == "ok" and seconds is not None:
            yield {"name": name, "value": _milliseconds(seconds), "unit": "ms"}
    for prefix, figures in (("error", outcome.errors), ("resource", outcome.resources)):
        yield from _figures(prefix, figures)


def _figures(prefix: str, figures: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for name, value in sorted(figures.items()):
        if isinstance(value, int | float) and not isinstance(value, bool):
            figure = value if isfinite(value) else str(value)
            yield {"name": f"{prefix}.{name}", "value": figure, "unit": UNITS.get(name, "")}


def _milliseconds(seconds: float) -> float:
    return seconds * 1e3
