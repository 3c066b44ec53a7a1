"""A small recorded space of a made-up kernel, in both formats."""

from __future__ import annotations

from itertools import product
from typing import Any

TILES, WARPS = (16, 32, 64, 96, 128, 256), (1, 2, 4, 8, 16)
FORMS, UNROLL = ("plain", "fancy", "wide"), (0, 1)
OPTIMUM = 2.0


def milliseconds(tile: int, warps: int, form: str, unroll: int) -> float | None:
    """Best where a warp has 16 of the tile; None where the threads do not fit."""
    if tile * warps > 2048:
        return None
    off_balance = abs(16 * warps - tile) / (16 * warps + tile)
    odd = 1.5 if tile == 96 else 1.0
    slow = {"plain": 1.3, "fancy": 1.0, "wide": 2.0}[form]
    size = 1 + abs(tile.bit_length() - 8) / 4
    return OPTIMUM * (1 + 2 * off_balance) * odd * slow * size * (1.1 if unroll else 1.0)


ROWS = [
    ({"tile": t, "warps": w, "form": f, "unroll": u, "fixed": 7}, milliseconds(t, w, f, u))
    for t, w, f, u in product(TILES, WARPS, FORMS, UNROLL)
    if t >= w
]


def kernel_tuner() -> dict[str, Any]:
    cache = {
        ",".join(map(str, config.values())): {**config, "time": ms or "RuntimeFailedConfig"}
        for config, ms in ROWS
    }
    return {
        "kernel_name": "toy_kernel",
        "tune_params_keys": list(ROWS[0][0]),
        "objective": "time",
        "cache": cache,
    }


def t4() -> dict[str, Any]:
    results = [
        {
            "configuration": config,
            "invalidity": "correct" if ms else "runtime",
            "measurements": [{"name": "time", "value": ms or "RuntimeFailedConfig", "unit": "ms"}],
        }
        for config, ms in ROWS
    ]
    return {"schema_version": "1.0.0", "results": results}
