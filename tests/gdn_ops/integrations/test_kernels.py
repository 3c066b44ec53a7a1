"""Hugging Face's ``kernels`` loads an exported library and puts it into models of transformers.

``python -m tests.kernels_releases`` installs it, with a release of transformers that accepts it.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.tuner.cli import run
from tests.gdn_ops.integrations.test_transformers import MODELS, TINY
from tests.tiny_library import database, tiny_database

kernels = pytest.importorskip("kernels")
transformers = pytest.importorskip("transformers")
if not transformers.utils.is_kernels_available():
    pytest.skip("this transformers does not accept this kernels", allow_module_level=True)

LAYERS = {
    "chunk_gated_delta_rule": "chunk_gated_delta_rule",
    "fused_recurrent_gated_delta_rule": "recurrent_gated_delta_rule",
}
CONVOLUTIONS = ("causal_conv1d_fn", "causal_conv1d_update")
REPLACED = ("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule", *CONVOLUTIONS)
ALL = {
    **MODELS,
    "olmo_hybrid": (
        "OlmoHybridConfig",
        "OlmoHybridForCausalLM",
        TINY | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    ),
}
INFERENCE, TRAINING = kernels.Mode.INFERENCE, kernels.Mode.TRAINING


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported kernel of a library for tiny models."""
    root = tmp_path_factory.mktemp("hf")
    tiny = tiny_database(root / "tiny.db")
    assert run(["export", "hf", "--db", str(tiny), "-o", str(root / "kernels")]) == 0
    (folder,) = (root / "kernels").iterdir()
    return folder


@pytest.fixture
def calls(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions of the library that are called, in order."""
    library = kernels.get_local_kernel(folder)
    module = importlib.import_module(f"{library.__name__}.integrations.transformers")
    names: list[str] = []

    def spied(name: str, function: Any) -> Any:
        def spy(*arguments: Any, **options: Any) -> Any:
            names.append(name)
            return function(*arguments, **options)

        return spy

    for name in LAYERS:
        monkeypatch.setattr(module, name, spied(name, getattr(module, name)))
    return names


@pytest.fixture(params=ALL)
def model(request: pytest.FixtureRequest) -> Iterator[Any]:
    config, model_class, sizes = ALL[request.param]
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(getattr(transformers, config)(**sizes)).eval()
    yield model
    modeling = importlib.import_module(type(model).__module__)
    for function in REPLACED:
        # what kernelize replaced
        vars(getattr(modeling, function)).pop("forward", None)


def mapping(folder: Path) -> dict[str, Any]:
    return {
        name: {"cpu": kernels.LocalLayerRepository(folder, layer_name=layer)}
        for name, layer in {**LAYERS, **{name: name for name in CONVOLUTIONS}}.items()
    }


def kernelize(model: Any, folder: Path, mode: Any = INFERENCE) -> None:
    with kernels.use_kernel_mapping(mapping(folder), inherit_mapping=False):
        kernels.kernelize(model, mode=mode, device="cpu")


def test_kernels_reads_the_metadata_and_the_digests(folder: Path) -> None:
    from kernels._rust import Backend, Digest, Metadata

    (variant,) = (folder / "build").iterdir()
    metadata = Metadata.read_from_file(variant / "metadata.json")
    assert (metadata.name.python_name, metadata.version) == ("gdn_ops_lib_cpu_avx2", 1)
    assert metadata.backend.backend_type == Backend.CPU
    metadata.digest.validate(Digest.hash_variant(metadata.digest.algorithm, variant))
    assert kernels.get_local_kernel(folder).__name__ == metadata.id


def test_a_model_gives_the_same_tokens_on_the_library(
    model: Any, folder: Path, calls: list[str]
) -> None:
    tokens = torch.randint(3, 97, (2, 70))
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    expected, logits = model.generate(tokens, **options), model(tokens).logits
    assert not calls
    kernelize(model, folder)
    layers = 3
    assert torch.equal(model.generate(tokens, **options), expected)
    new = expected.shape[1] - 70
    assert calls.count("chunk_gated_delta_rule") == layers
    assert calls.count("fused_recurrent_gated_delta_rule") == layers * (new - 1)
    # gradients are on, and the library has none: only the backward pass is refused
    actual = model(tokens).logits
    assert logits.std() > 0.1
    torch.testing.assert_close(actual, logits, rtol=0, atol=1e-4)
    with pytest.raises(NotImplementedError, match="This library serves on cpu-avx2"):
        actual.sum().backward()


def test_training_stays_with_transformers_if_the_library_has_no_gradients(
    model: Any, folder: Path, calls: list[str]
) -> None:
    kernelize(model, folder, TRAINING)
    tokens = torch.randint(97, (1, 20))
    model(tokens, labels=tokens).loss.backward()
    assert not calls


@torch.no_grad()
@pytest.mark.parametrize("model", ["qwen3_5"], indirect=True)
def test_a_compiled_model_runs_on_the_library(model: Any, folder: Path, calls: list[str]) -> None:
    tokens = torch.randint(97, (1, 70))
    expected = model(tokens, use_cache=False).logits
    kernelize(model, folder, INFERENCE | kernels.Mode.TORCH_COMPILE)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(
        compiled(tokens, use_cache=False).logits, expected, rtol=0, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize("model", ["qwen3_5"], indirect=True)
def test_heads_that_the_library_does_not_serve_are_named(
    model: Any, folder: Path, tmp_path: Path
) -> None:
    other = database(tmp_path / "r.db", target="cpu-avx2", arch="avx2", heads=[(8, 8)], K=16, V=16)
    assert run(["export", "hf", "--db", str(other), "-o", str(tmp_path / "kernels")]) == 0
    kernelize(model, tmp_path / "kernels" / folder.name)
    with pytest.raises(NotImplementedError, match="forward scalar-delta H=8 HV=8 K=16 V=16 fp32"):
        model(torch.randint(97, (1, 20)))


def test_the_guide_runs_without_gdn_ops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands here, and the code in a process in which gdn-ops cannot be imported."""
    page = (Path(__file__).parents[3] / "docs" / "engines.md").read_text()
    page = page[page.index("## Hugging Face kernels") :]
    code = re.findall(r'^```python title="([^"]+)"\n(.*?)^```', page, flags=re.M | re.S)
    assert [title for title, _ in code] == ["with kernels"] * 2 + [
        "with kernels on a GPU", "with a wheel",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    # up to 5.22, transformers repeats the heads of q and k before it calls the rule
    own = database(
        tmp_path / "own.db", target="cpu-avx512-bf16", arch="avx512-bf16", heads=[(32, 32)],
        K=128, V=128,
    )  # fmt: skip
    monkeypatch.setenv("GDN_RESULTS_DB", str(own))
    (export,) = re.findall(r"^gdn (export .*)$", page, flags=re.M)
    assert run(export.split()) == 0
    assert run(["export", "wheel", "--target", "cpu-avx512-bf16", "-o", "dist"]) == 0
    with zipfile.ZipFile(*Path("dist").iterdir()) as wheel:
        wheel.extractall("site")
    script = [
        "import sys",
        "sys.modules.update(dict.fromkeys(['gdn_ops', 'optuna', 'sqlalchemy']))",
        "sys.path.insert(0, 'site')",
        "import torch; torch.manual_seed(0)",
        # a machine without a GPU has the same path, but for the list of devices
        "from transformers.utils import kernel_config",
        "kernel_config.KERNELS_SUPPORTED_DEVICE_TYPES.append('cpu')",
        *(text for _, text in code),
        "print(torch.equal(before, after))",
    ]
    (tmp_path / "code.py").write_text("\n".join(script))
    done = subprocess.run(
        [sys.executable, "code.py"], env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "True" and done.stdout.splitlines()[-1] == "True"
    assert "runs on  torch " in done.stdout
