"""The kernels of flash-linear-attention's chunk_gated_delta_rule, compiled without a GPU.

``launches`` starts a child process, ``python -m bench.static.fla JOB OUT``, which runs the
library's own Python code on tensors without data, and compiles every config in each kernel's
autotuning list.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib import import_module
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.static.launch import Launch, Needs
from bench.static.recorder import Call, recording
from gdn_ops.codegen.compiled.compile import cause, compiled_of
from gdn_ops.codegen.compiled.resources import Resources, resources_of
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.launch.torch_dtype import torch_dtype

BT = 64


def calls(problem: Problem) -> list[Call]:
    """Return the recorded launches; the backward gets A and the cumulative gates of the forward."""
    chunk = import_module("fla.ops.gated_delta_rule.chunk")
    T, H, HV, K, V = problem.tokens, problem.H, problem.HV, problem.K, problem.V
    io = torch_dtype(DTYPES[problem.dtype])

    def tensor(*shape: int, dtype: torch.dtype = io) -> torch.Tensor:
        return torch.empty(1, T, *shape, dtype=dtype, device="cuda")

    with FakeTensorMode(), torch.no_grad():
        x: dict[str, Any] = {
            "q": tensor(H, K),
            "k": tensor(H, K),
            "v": tensor(HV, V),
            "beta": tensor(HV, dtype=torch.float32),
            "scale": K**-0.5,
            "initial_state": None,
        }
        known = signature(chunk.chunk_gated_delta_rule_fwd).parameters
        if "chunk_size" in known or any(p.kind is p.VAR_KEYWORD for p in known.values()):
            x["chunk_size"] = BT  # older releases have no other
        g, do = tensor(HV, dtype=torch.float32), tensor(HV, V)
        with recording() as forward:
            gc, _, A, *_ = chunk.chunk_gated_delta_rule_fwd(**x, g=g, output_final_state=False)
        with recording() as backward:
            chunk.chunk_gated_delta_rule_bwd(**x, g=gc, A=A, do=do, dht=None)
    return backward.calls if problem.op == "backward" else forward.calls


def launch_of(call: Call, problem: Problem, target: Target, compile: bool) -> Launch:
    """Compile a call, and choose the config with the least spilling, then fewest instructions."""
    found: dict[str, Resources] = {}
    failed = ""
    for config, compiler in call.compiles.items() if compile else ():
        try:
            compiled = compiled_of(call.kernel, target, compiler(), seconds=0.0, cached=False)
            found[config] = resources_of(compiled)
        except Exception as error:
            failed = cause(error)
    fitting = {name: need for name, need in found.items() if not need.reasons(target)}
    best = min(fitting, key=lambda c: (fitting[c].stack, fitting[c].instructions), default="")
    return Launch(
        kernel=call.kernel,
        bytes=call.bytes / (problem.tokens * problem.HV),
        config=best,
        needs=Needs.of(fitting[best]) if fitting else None,
        compiled=len(found),
        spilling=sum(need.stack > 0 for need in found.values()),
        remark="" if fitting else failed or "no config fits the GPU" * bool(found),
    )


def launches(problem: Problem, target: Target, *, compile: bool = True) -> tuple[Launch, ...]:
    """Return the launches of a forward or backward problem.

    Args:
        problem: the problem; a backward gets A and the cumulative gates of the forward.
        target: the GPU to compile for; this machine need not have it.
        compile: whether to compile; otherwise ``Launch.needs`` is None.

    Raises:
        RuntimeError: the child process failed; the message has its last line of output.
    """
    job = {"problem": problem.facts(), "target": target.name, "compile": compile}
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    # Count its own kernels, not those of other libraries that it prefers if they are installed.
    environment["FLA_DISABLE_BACKEND_DISPATCH"] = "1"
    with TemporaryDirectory() as folder:
        out = Path(folder) / "launches.json"
        command = [sys.executable, "-m", "bench.static.fla", json.dumps(job), str(out)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise RuntimeError(f"flash-linear-attention was not counted for {problem.id()}: {last}")
        return tuple(map(Launch.from_json, json.loads(out.read_text())))


def main() -> None:
    from bench.static.absent_gpu import install

    job, out = json.loads(sys.argv[1]), Path(sys.argv[2])
    target, problem = target_named(job["target"]), Problem.from_facts(job["problem"])
    install(target)
    found = [launch_of(call, problem, target, job["compile"]) for call in calls(problem)]
    out.write_text(json.dumps([asdict(launch) for launch in found]))


if __name__ == "__main__":
    main()
