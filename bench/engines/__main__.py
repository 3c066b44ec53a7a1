"""Generation with tiny models of transformers on the CPU: gdn_ops and its exports against stock.

    python -m bench.engines
    python -m bench.engines --threads 1 --rounds 7 --out bench/results

Stock is the installed transformers without any of ours. The same model then generates the same
tokens with the plug-in (``use_gdn_ops``), with an exported wheel, and with an exported kernel that
Hugging Face's ``kernels`` puts into it. The last needs a ``kernels`` that transformers accepts.

Each model is measured twice: as it is, and with an allocator that keeps freed memory. As it is,
glibc returns the memory of large tensors to the system and takes it again, and which
implementation pays for that depends on the sizes of the other's tensors.

The libraries are exported from your own and the shipped results database, and serve the models'
heads only if there are winners for them. Up to 5.22, transformers repeats the heads of q and k
before it calls the rule, so tune that too:

    gdn tune --H 32 --HV 32 --K 128 --dtype fp32 --tokens 1024 --final-state
    gdn tune --H 32 --HV 32 --K 128 --dtype fp32 --decode --sequences 1 --initial-state \\
        --final-state
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from transformers.utils import is_kernels_available

from bench.engines.contenders import export
from bench.engines.measuring import MODELS, Case, rows
from bench.rows import Row, markdown
from gdn_ops.dispatch.device import target_of

RESULTS = Path(__file__).parents[1] / "results"
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
"""The environment with which glibc keeps freed memory."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.engines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds, >= 5")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--prompt", type=int, default=1024, help="tokens of the prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens to generate")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    given = parser.parse_args()
    found: list[Row] = []
    with TemporaryDirectory(prefix="gdn-engines-") as name:
        folder = Path(name)
        export(folder)
        for model, kept in product(MODELS, (False, True)):
            case = Case(
                model, given.prompt, given.new, max(5, given.rounds), given.threads, folder, kept
            )
            # Earlier work in a process changes how its allocator serves large tensors, and the
            # allocator reads the environment when the process starts.
            for key in KEPT:
                os.environ.pop(key, None)
            if kept:
                os.environ |= KEPT
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                found += pool.submit(rows, case).result()
    conditions = {
        "target": target_of(torch.device("cpu")).name,
        "threads": given.threads,
        "transformers": transformers.__version__,
        "kernels": _kernels(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    table = markdown(found)
    print(table)
    given.out.mkdir(parents=True, exist_ok=True)
    stem = f"engines-transformers-{transformers.__version__}-{conditions['target']}"
    heading = ", ".join(f"{k} {v}" for k, v in conditions.items())
    (given.out / f"{stem}.md").write_text(f"{heading}\n\n{table}\n")
    report = {"conditions": conditions, "rows": [row.json() for row in found]}
    (given.out / f"{stem}.json").write_text(json.dumps(report, indent=1) + "\n")


def _kernels() -> str:
    try:
        found = version("kernels")
    except PackageNotFoundError:
        found = "not installed"
    return found if is_kernels_available() else f"{found} (not accepted by this transformers)"


if __name__ == "__main__":
    main()
