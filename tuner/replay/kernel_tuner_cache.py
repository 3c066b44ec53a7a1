"""Kernel Tuner's cache file: an object with a `cache` of configurations by their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.tuner.replay.recorded_space import RecordedSpace


def recognizes(content: Mapping[str, Any]) -> bool:
    return "cache" in content and "tune_params_keys" in content


def space(name: str, content: Mapping[str, Any]) -> RecordedSpace:
    """The space of a cache.

    Raises:
        InvalidInput: the cache does not have the form that Kernel Tuner writes.
    """
    names, cache = content["tune_params_keys"], content["cache"]
    objective = content.get("objective", "time")
    if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
        raise InvalidInput(f"tune_params_keys is {shown(names)}; it must be a list of names")
    if not isinstance(cache, dict):
        raise InvalidInput(f"cache is {shown(cache)}; it must be an object")
    if objective != "time":
        raise InvalidInput(f"its objective is {shown(objective)}; only time can be replayed")
    rows = []
    for key, entry in cache.items():
        if not isinstance(entry, dict) or not {*names, "time"} <= set(entry):
            raise InvalidInput(f"the entry {shown(key)} lacks a parameter or its time")
        rows.append(({x: entry[x] for x in names}, entry["time"]))
    kernel = str(content.get("kernel_name", "")).removesuffix("_kernel")
    return RecordedSpace.of(name, kernel, rows)
