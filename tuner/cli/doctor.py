"""``gdn doctor``: checks the installation, the devices and the results databases."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.shared_options import with_options

if TYPE_CHECKING:
    from gdn_ops.tuner.spaces.model_types import ModelLayers

PACKAGES = ("torch", "triton", "jinja2", "optuna", "sqlalchemy", "alembic", "rich", "typer")
EXACT = "exact"
"""How a choice was found if a result for this very problem and device is stored."""


@with_options(model=ModelOptions)
def doctor(*, model: ModelOptions) -> Answer:
    """Check the installation, the devices and the results databases.

    Also shows which target this machine is, and whether rendered kernels can be cached.

    If something is broken, prints how to fix it and exits with 1. With --model the last line says
    how the kernels for the model's problems were found, and what to type next.

    Examples:

        gdn doctor

        gdn doctor --model Qwen3.5-9B/config.json
    """
    from gdn_ops.tuner.report import console

    layers = model.layers()
    faults: list[str] = []
    rows = [*_software(faults), *_targets(faults), *_storage(faults)]
    console.table(("what", "is", "note"), rows)
    for fault in faults:
        console.fail(fault)
    if not faults:
        console.say("all is well")
    readiness = None if layers is None else _readiness(model, layers)
    if readiness is not None:
        console.say(readiness)
    facts = [{"what": what, "is": found, "note": note} for what, found, note in rows]
    results = {"facts": facts, "faults": faults, "model": readiness}
    return Answer(1 if faults else 0, results)


def _software(faults: list[str]) -> Iterator[tuple[str, str, str]]:
    yield "gdn-ops", _version("gdn-ops") or "from a checkout", ""
    yield "python", platform.python_version(), ""
    for name in PACKAGES:
        found = _version(name)
        yield name, found or "missing", "" if found else "needed"
        if found is None:
            faults.append(f"{name} is not installed; `pip install 'gdn-ops[tune]'`.")
    from gdn_ops.codegen.providers import PROVIDERS
    from gdn_ops.providers.installed import version_of

    providers = [f"{p.name} {version_of(p) or 'not installed'}" for p in PROVIDERS.values()]
    yield "providers", ", ".join(providers), "optional; `gdn tune --providers` times them too"


def _targets(faults: list[str]) -> Iterator[tuple[str, str, str]]:
    try:
        import_module("torch")  # what is installed may still fail to load
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        faults.append(f"torch cannot be imported: {text:.300}; install it again.")
        return
    import torch

    from gdn_ops.dispatch.device import target_of

    cpu = target_of(torch.device("cpu"))
    yield "cpu", cpu.name, f"{torch.get_num_threads()} threads"
    from gdn_ops.launch.cpp import why_no_cpp

    why = why_no_cpp(cpu.multiplies_bf16)
    yield "C++ on the CPU", "works" if not why else "not used", why
    if not torch.cuda.is_available():
        yield "gpu", "none", "`gdn compile --target h200` compiles without one"
        return

    for index in range(torch.cuda.device_count()):
        target = target_of(torch.device("cuda", index))
        name = torch.cuda.get_device_name(index)
        yield f"cuda:{index}", target.name, f"{name}, {target.arch}, {target.sms} SMs"


def _storage(faults: list[str]) -> Iterator[tuple[str, str, str]]:
    from gdn_ops.codegen.errors import ResultsError
    from gdn_ops.results_path import cache_folder, shipped_database, user_database, verified_file
    from gdn_ops.tuner.report.counted import counted
    from gdn_ops.tuner.store.winner_tables import exists, read_winners
    from gdn_ops.verify.verified_file import VerifiedFile

    for name, path in (("your results", user_database()), ("shipped results", shipped_database())):
        if not exists(path):
            yield name, str(path), "does not exist yet; `gdn tune` creates it"
            continue
        try:
            found = read_winners(path).winners
            predicted = sum(w.provenance == "predicted" for w in found)
            note = counted(len(found), "winner") + (
                f", {predicted} of them predicted" * (predicted > 0)
            )
            yield name, str(path), note
        except ResultsError as error:
            faults.append(str(error))
            yield name, str(path), "broken"
    folder = cache_folder()
    file = VerifiedFile(verified_file())
    right, wrong = file.counts()
    yield "verified kernels", str(file.path), f"{right} right, {wrong} passed over on GPUs here"
    writable = _writable(folder)
    yield "rendered kernels", str(folder), "writable" if writable else "not writable"
    if not writable:
        faults.append(f"{folder} is not writable; set GDN_CACHE_DIR to a folder of your own.")


def _writable(folder: Path) -> bool:
    """Whether a file can be made in a folder, or in its nearest parent that exists."""
    try:
        while not folder.exists():
            folder = folder.parent
        # try it: permission bits say nothing for root or on a read-only disk
        with NamedTemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _readiness(model: ModelOptions, layers: ModelLayers) -> str:
    """How the kernels for a model's problems were found, and what to type next."""
    from gdn_ops.dispatch.finder import finder_here
    from gdn_ops.dispatch.model_explanation import explained

    found = explained({layers.mixer: str(layers)}, model.use(), finder_here())
    exact = found.counts().get(EXACT, 0)
    rest = len(found.rows) - exact
    options = model.typed()
    if rest:
        noun = "the one" if rest == 1 else f"the {rest}"
        advice = f"`gdn tune {options}` measures {noun} that no stored result fits exactly"
    else:
        advice = f"Each has a result of its own here; `gdn bench {options}` times them"
    return f"{layers.model_type}: {found.summary()}. {advice}."


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
