"""Reasons for which several stages and plans refuse a config; each is worded once, here."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config, Value
from gdn_ops.codegen.target import Target


def same_reasons(name: str, config: Config, usual: Value, why: str) -> list[str]:
    """Refuse a value that gives the same kernel as the usual one.

    Args:
        name: the axis.
        usual: the value that is kept; normally the axis' default.
        why: the rest of the sentence, e.g. ``without a gate``.
    """
    value = config[name]
    return [] if value == usual else [f"{name}={value} is the same as {name}={usual} {why}"]


def no_loop_reasons(config: Config, usual: Value, why: str) -> list[str]:
    """Refuse pipeline depths other than the usual one if the kernel has no loop to pipeline.

    Args:
        why: why there is no loop, e.g. ``one tile of BK=64 holds K=64``.
    """
    rest = f"because {why}, which leaves no loop to pipeline"
    return same_reasons("num_stages", config, usual, rest)


def register_reasons(what: str, values: int, config: Config, target: Target) -> list[str]:
    """Refuse fp32 values that fill all registers of a program's threads, and so must spill.

    Args:
        what: the values in words.
        values: how many a program holds at once.
    """
    warps = int(config["num_warps"])
    registers = values // (warps * target.warp)
    if registers < target.registers_thread:
        return []
    return [
        f"holding {what} needs {registers} registers per thread with num_warps={warps} and "
        f"{target.name} has {target.registers_thread}; use more warps or smaller tiles"
    ]
