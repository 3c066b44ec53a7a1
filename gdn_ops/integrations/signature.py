"""Whether a function of another library has a signature that gdn_ops knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

NEEDED = ("q", "k", "v", "g", "beta")


def unknown_in(theirs: Callable[..., Any], ours: Callable[..., Any], old: Mapping[str, str]) -> str:
    """Return what gdn_ops does not know about another library's function; empty if nothing.

    Each of their parameters must be one of ours with the same default. Parameters of ours that
    they lack are fine, as nobody passes them.

    Args:
        theirs: the function that their callers call, unwrapped.
        ours: the function that is to run instead.
        old: parameters that they may have by an old name, with our names.
    """
    known = inspect.signature(ours).parameters
    parameters = inspect.signature(theirs).parameters
    faults = [f"no parameter {name}" for name in NEEDED if name not in parameters]
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        mine = known.get(old.get(name, name))
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            faults.append(f"parameter {name} is not passed by name")
        elif mine is None or mine.kind is mine.VAR_KEYWORD:
            faults.append(f"unknown parameter {name}")
        elif name not in NEEDED and parameter.default != mine.default:
            faults.append(f"default {name}={parameter.default!r}, which is {mine.default!r} here")
    return "; ".join(faults)
