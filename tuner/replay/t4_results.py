"""T4, the autotuning community's results format: an object with a list of `results`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.tuner.replay.recorded_space import RecordedSpace

OBJECTIVE = "time"


def recognizes(content: Mapping[str, Any]) -> bool:
    return "results" in content and "schema_version" in content


def space(name: str, content: Mapping[str, Any]) -> RecordedSpace:
    """The space of a file of results. T4 does not name the kernel: it is the stage in the metadata
    of ``gdn export t4``, else the file's name up to its first underscore.

    Raises:
        InvalidInput: the results do not have the form of schema version 1.
    """
    version, results = content["schema_version"], content["results"]
    if not str(version).startswith("1."):
        raise InvalidInput(f"its schema version is {shown(version)}; version 1 can be replayed")
    if not isinstance(results, list):
        raise InvalidInput(f"results is {shown(results)}; it must be a list")
    metadata = content.get("metadata")
    stage = metadata.get("stage") if isinstance(metadata, dict) else None
    kernel = stage if isinstance(stage, str) else name.partition("_")[0]
    return RecordedSpace.of(name, kernel, [_row(x) for x in results])


def _row(result: object) -> tuple[dict[str, object], object]:
    if not isinstance(result, dict) or not isinstance(result.get("configuration"), dict):
        raise InvalidInput(f"the result {shown(result)} has no configuration")
    measurements = result.get("measurements")
    if not isinstance(measurements, list) or not all(isinstance(x, dict) for x in measurements):
        raise InvalidInput(f"the result {shown(result)} has no list of measurements")
    times = [x.get("value") for x in measurements if x.get("name") == OBJECTIVE]
    correct = result.get("invalidity", "correct") == "correct"
    return dict(result["configuration"]), times[0] if times and correct else None
