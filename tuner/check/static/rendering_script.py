"""Render stages in whatever gdn_ops Python finds, and print their sources as JSON.

Another revision's ``gdn_ops`` runs this file, so it uses only interfaces that old revisions have
too, and imports nothing of the static check. It reads a list of requests from standard input::

    {"plan": "split", "stage": "chunk_h", "problem": {...}, "config": "BT=64 ... num_warps=4"}

and prints the folder of gdn_ops and a list with one answer for each: the source, the types of its
parameters and its launch options, or an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gdn_ops.codegen
from gdn_ops.codegen.axis import defaults
from gdn_ops.codegen.compiled.compile import launch_options, signature
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render


def answer(request: dict[str, Any]) -> dict[str, Any]:
    spec, axes = KERNELS[request["stage"]], PLANS[request["plan"]].axes
    config = {**defaults(axes), **defaults(spec.axes)}
    known = {axis.name: axis for axis in (*axes, *spec.axes)}
    for word in request["config"].split():
        name, _, value = word.partition("=")
        config[name] = next(v for v in known[name].values if str(v) == value)
    problem = Problem.from_facts(request["problem"])
    return {
        "code": render(spec, problem, config),
        "types": signature(spec, problem, config),
        "options": launch_options(spec, config),
    }


def main() -> None:
    answers: list[dict[str, Any]] = []
    for request in json.load(sys.stdin):
        try:
            answers.append(answer(request))
        except Exception as error:
            answers.append({"error": f"{type(error).__name__}: {error}"})
    folder = str(Path(gdn_ops.codegen.__file__).parent)
    json.dump({"codegen": folder, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main()
