"""A kernel that is wrong in every process that calls ``plant``: a decode that writes bad states."""

from __future__ import annotations

from typing import Any

BV = 16
"""Only kernels with so many value channels per program are wrong."""


def plant() -> None:
    """Render the stage ``recurrent`` wrongly from now on."""
    import gdn_ops.codegen.render as rendering

    right = rendering.render

    def render(spec: Any, problem: Any, config: Any, *, interpret: bool = False) -> str:
        source = right(spec, problem, config, interpret=interpret)
        if spec.name != "recurrent" or config["BV"] != BV:
            return source
        wrong = source.replace("ht + o_h, b_h", "ht + o_h, 1.1 * b_h")
        assert wrong != source
        return wrong

    rendering.render = render
