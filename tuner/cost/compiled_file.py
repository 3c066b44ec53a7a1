"""What was compiled before for the cost model, which then compiles only what is new."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.compile import launch_options, signature
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.compiled.warp_cycles import LATENCIES
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.source_hash import code_of
from gdn_ops.toolchain import ptxas_version, triton_version

COUNTS = 2
"""The version of what is counted in machine code; raise it if that changes."""
COUNTS_OF = {"sm_100": 3, "sm_103": 3}
"""The same of architectures that have their own."""
FINAL = ("compile-error", "unlaunchable", "unsound")
"""Failures that happen again if it is compiled again; the others are the machine's."""


class CompiledFile:
    """A file with one line of JSON per compiled stage; of two with the same key the later counts.

    A key is a hash of everything that the machine code follows from: code, types, options,
    architecture, and the versions of Triton and ptxas. A line that cannot be read is left alone.

    Args:
        path: need not exist, and neither does its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Resources | str] = {}
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                with suppress(ValueError, TypeError, KeyError, AttributeError):
                    self._read(line)

    def known(self, key: str) -> Resources | str | None:
        """The resources, or why it cannot be launched; None if it was not compiled."""
        return self._known.get(key)

    def add(self, key: str, found: Resources | str) -> None:
        """Keep a result, also on the disk."""
        self._known[key] = found
        data = {"key": key, "found": found if isinstance(found, str) else found.to_json()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(f"{json.dumps(data)}\n")

    def _read(self, line: str) -> None:
        data = json.loads(line)
        found = data["found"]
        self._known[data["key"]] = found if isinstance(found, str) else Resources.from_json(found)


def compiled_key(stage: str, problem: Problem, config: Config, arch: str) -> str:
    """The key of a stage in a ``CompiledFile``.

    Raises:
        TemplateError: it does not render.
    """
    spec = KERNELS[stage]
    parts = [
        stage, code_of(render(spec, problem, config), stage), signature(spec, problem, config),
        launch_options(spec, config), arch, triton_version(), ptxas_version(arch),
        COUNTS_OF.get(arch, COUNTS), asdict(LATENCIES),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
