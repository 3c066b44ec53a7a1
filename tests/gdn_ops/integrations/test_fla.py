"""flash-linear-attention's functions run on gdn_ops through its registry, and can be taken back.

Most tests run on a stand-in with recorded signatures, and on the installed release if there is
one.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from gdn_ops import using
from gdn_ops.codegen.targets import target_named
from gdn_ops.dispatch.choice import choose
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.integrations import fla as integration
from gdn_ops.integrations import refusal
from gdn_ops.integrations.fla import use_gdn_ops
from gdn_ops.reference import gated_delta_rule_reference
from tests.gdn_ops.integrations import fla_stand_in as stand_in

NAMES = ("chunk_gated_delta_rule", "chunk_kda")
INSTALLED = importlib.util.find_spec("fla") is not None
RELEASES = ["0.6.0", "0.5.2", "installed"]


def engine(name: str) -> Any:
    """Return the engine's public function, as its callers import it."""
    return getattr(importlib.import_module(f"fla.ops.{stand_in.OPERATIONS[name]}"), name)


def runs_own(name: str, arguments: dict[str, Any]) -> bool:
    """Return whether a call runs on the engine's own function."""
    try:
        result = engine(name)(**arguments)
    except RuntimeError as error:
        # without a GPU the kernels of the installed release do not start
        return "active drivers" in str(error)
    return result[0] is stand_in.OWN


def release_of(package: str) -> tuple[int, ...]:
    version = importlib.import_module(package).__version__
    return tuple(int(part) for part in version.split(".")[:3])


@pytest.fixture(params=RELEASES)
def release(request, monkeypatch):
    """Install a stand-in, or use the installed release; take back what a test leaves."""
    monkeypatch.delenv("FLA_GDN_OPS", raising=False)
    if request.param != "installed":
        stand_in.install(monkeypatch, request.param)
    elif not INSTALLED:
        pytest.skip("flash-linear-attention is not installed")
    elif release_of("fla") < (0, 5, 2):
        pytest.skip("before 0.5.2 only chunk_kda is offered to backends")
    elif torch.cuda.is_available():
        pytest.skip("with a GPU the installed release runs, and not only on its tensors")
    yield request.param
    for bridges in integration._REGISTERED.values():
        for bridge in bridges.values():
            bridge.active = False


def inputs(name: str, *, grad: bool = False) -> dict[str, Any]:
    torch.manual_seed(0)
    B, T, H, HV, K, V = 2, 70, 2, 4, 16, 24
    gate = (B, T, HV, K) if name == "chunk_kda" else (B, T, HV)
    tensors = {
        "q": torch.randn(B, T, H, K),
        "k": normalize(torch.randn(B, T, H, K), dim=-1),
        "v": torch.randn(B, T, HV, V),
        "g": -torch.rand(gate),
        "beta": torch.rand(B, T, HV),
    }
    return {n: x.requires_grad_(grad) for n, x in tensors.items()}


@pytest.mark.parametrize("name", NAMES)
def test_calls_and_gradients_are_those_of_the_reference(release, name):
    theirs, ours = inputs(name, grad=True), inputs(name, grad=True)
    with use_gdn_ops():
        o, state = engine(name)(**ours, output_final_state=True)
    expected, expected_state = gated_delta_rule_reference(**theirs, output_final_state=True)
    torch.testing.assert_close(o, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(state, expected_state, rtol=0, atol=1e-5)
    weight = torch.randn_like(o)
    for results in ((o, state), (expected, expected_state)):
        ((results[0] * weight).sum() + results[1].square().sum()).backward()
    for n, x in theirs.items():
        torch.testing.assert_close(ours[n].grad, x.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_of_a_layer_arrives(release, name):
    """The raw gate, raw beta, norms, packed sequences and states with V first."""
    arguments = {n: x[:1] for n, x in inputs(name).items()}
    K, HV, V = 16, 4, 24
    bias = torch.randn(HV, K) if name == "chunk_kda" else torch.randn(HV)
    options = {
        "A_log": torch.randn(HV),
        "use_qk_l2norm_in_kernel": True,
        "use_gate_in_kernel": True,
        "use_beta_sigmoid_in_kernel": True,
        "allow_neg_eigval": True,
        "cu_seqlens": torch.tensor([0, 33, 70]),
        "scale": 0.5,
    }
    state = torch.randn(2, HV, K, V)
    with use_gdn_ops():
        o, last = engine(name)(
            **arguments, **options, dt_bias=bias.flatten(), initial_state=state.mT.contiguous(),
            state_v_first=True, output_final_state=True, cu_seqlens_cpu=options["cu_seqlens"],
        )  # fmt: skip
    expected, expected_last = gated_delta_rule_reference(
        **arguments, **options, dt_bias=bias, initial_state=state, output_final_state=True
    )
    torch.testing.assert_close(o, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(last.mT, expected_last, rtol=0, atol=1e-4)


def test_positional_arguments_are_read_in_the_order_of_the_engine(release):
    x = inputs("chunk_kda")
    state = torch.randn(2, 4, 16, 24)
    with use_gdn_ops("chunk_kda"):
        o, last = engine("chunk_kda")(*x.values(), 0.5, state, True, True)
    expected = gated_delta_rule_reference(
        **x, scale=0.5, initial_state=state, output_final_state=True, use_qk_l2norm_in_kernel=True
    )
    torch.testing.assert_close((o, last), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_taken_back_and_put_in_place_again(release, name):
    arguments = inputs(name)
    before = engine(name)
    assert runs_own(name, arguments)
    takeover = use_gdn_ops()
    assert not runs_own(name, arguments)
    assert engine(name) is before, "callers that imported the function earlier are reached too"
    takeover.restore()
    takeover.restore()
    assert runs_own(name, arguments)
    assert takeover.functions == ()
    with use_gdn_ops(name) as again:
        assert again.functions == (name,)
        assert not runs_own(name, arguments)
    assert runs_own(name, arguments)


def test_a_second_call_changes_nothing(release):
    first, second = use_gdn_ops(), use_gdn_ops()
    assert str(first) == str(second)
    assert first.functions == second.functions == NAMES
    second.restore()
    with use_gdn_ops("chunk_kda"):
        pass
    assert not any(runs_own(name, inputs(name)) for name in NAMES), "the first still stands"
    first.restore()
    assert all(runs_own(name, inputs(name)) for name in NAMES)


def test_one_line_says_what_was_replaced(release):
    version = importlib.import_module("fla").__version__
    takeover = use_gdn_ops()
    both = "chunk_gated_delta_rule, chunk_kda run on gdn_ops"
    assert str(takeover) == f"flash-linear-attention {version}: {both}"
    takeover.restore()
    assert str(takeover) == f"flash-linear-attention {version}: no function runs on gdn_ops"
    assert "chunk_kda runs on" in str(use_gdn_ops("chunk_kda"))
    assert runs_own("chunk_gated_delta_rule", inputs("chunk_gated_delta_rule"))


def test_the_environment_switches_it_off(release, monkeypatch):
    takeover = use_gdn_ops()
    monkeypatch.setenv("FLA_GDN_OPS", "0")
    assert all(runs_own(name, inputs(name)) for name in NAMES)
    assert str(use_gdn_ops()).endswith("run on gdn_ops (switched off: FLA_GDN_OPS=0)")
    monkeypatch.delenv("FLA_GDN_OPS")
    assert takeover.functions == NAMES
    assert not any(runs_own(name, inputs(name)) for name in NAMES)


REFUSED = {
    "cp_context": ("cp_context", lambda x: {"cp_context": object()}),
    "float64": ("float64", lambda x: {n: t.double() for n, t in x.items()}),
    "mixed dtypes": ("v is torch.bfloat16 and q is", lambda x: {"v": x["v"].bfloat16()}),
    "head dim": ("K=272", lambda x: {n: torch.randn(2, 70, 2, 272) for n in "qk"}),
    "unknown": ("surprise", lambda x: {"surprise": 1}),
    "meta device": ("meta", lambda x: {n: t.to("meta") for n, t in x.items()}),
    "nested": ("nested", lambda x: {"v": torch.nested.nested_tensor([torch.randn(3, 4)])}),
    "neg_eigval": ("allow_neg_eigval", lambda x: {"allow_neg_eigval": True}),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", NAMES)
def test_what_gdn_ops_cannot_run_goes_to_the_engine(monkeypatch, name, case):
    registries = stand_in.install(monkeypatch, "0.6.0")
    reason, change = REFUSED[case]
    arguments = inputs(name)
    if case == "head dim" and name == "chunk_kda":
        arguments["g"] = -torch.rand(2, 70, 4, 272)
    arguments |= change(arguments)
    with use_gdn_ops():
        for _ in range(2):  # the second answer is remembered
            assert engine(name)(**arguments)[0] is stand_in.OWN
            assert reason in registries[name].refused[-1]
        assert not runs_own(name, inputs(name))


def test_arguments_of_kda_alone_are_refused(monkeypatch):
    registries = stand_in.install(monkeypatch, "0.6.0")
    x = inputs("chunk_kda")
    raw = {"use_gate_in_kernel": True, "A_log": torch.zeros(4)}
    with use_gdn_ops():
        for options, reason in (
            ({"disable_recompute": True}, "disable_recompute"),
            ({"return_intermediate_states": True}, "return_intermediate_states"),
            ({"use_graph": True}, "use_graph"),
            (raw | {"safe_gate": True}, "lower_bound"),
            (raw | {"safe_gate": True, "lower_bound": -9.0}, "lower_bound=-9.0"),
            ({"use_gate_in_kernel": True}, "A_log is None"),
        ):
            assert engine("chunk_kda")(**x, **options)[0] is stand_in.OWN
            assert reason in registries["chunk_kda"].refused[-1]
        bounded = raw | {"safe_gate": True, "lower_bound": -5.0, "dt_bias": torch.zeros(64)}
        o, _ = engine("chunk_kda")(**x, **bounded)
    g = -5.0 * torch.sigmoid(x["g"])
    expected, _ = gated_delta_rule_reference(**x | {"g": g})
    torch.testing.assert_close(o, expected, rtol=0, atol=1e-5)


def test_a_gpu_without_a_tuned_kernel_leaves_the_call_to_the_engine(monkeypatch):
    """Plan torch would be slower than the engine's kernels, so it must not replace them."""
    registries = stand_in.install(monkeypatch, "0.6.0")
    untuned = partial(choose, target=target_named("h200"), table=WinnerTable([]))
    monkeypatch.setattr(refusal, "choice_for", lambda problem, device: untuned(problem))
    name = "chunk_gated_delta_rule"
    with use_gdn_ops():
        assert engine(name)(**inputs(name))[0] is stand_in.OWN
    assert "no tuned kernel for" in registries[name].refused[-1]
    assert "gdn tune" in registries[name].refused[-1]


def test_the_gradients_are_asked_for_too(monkeypatch):
    """A call whose gradients no plan computes must not start on gdn_ops."""
    registries = stand_in.install(monkeypatch, "0.6.0")
    asked: list[str] = []
    real = refusal.choice_for

    def spy(problem, device):
        asked.append(problem.op)
        return real(problem, device)

    monkeypatch.setattr(refusal, "choice_for", spy)
    name = "chunk_kda"
    with use_gdn_ops():
        engine(name)(**inputs(name))
        assert asked == ["forward"]
        engine(name)(**inputs(name, grad=True))
        assert asked == ["forward", "forward", "backward"]
        with torch.no_grad(), using("torch"):
            engine(name)(**inputs(name, grad=True))
        assert asked[3:] == ["forward"]
    assert registries[name].refused == []


CHANGED = {
    "a new parameter": ("unknown parameter gate_floor", "**", "gate_floor=0, **"),
    "another name": ("no parameter beta", "beta,", "b,"),
    "another default": ("default scale=1.0", "scale=None", "scale=1.0"),
    "only positional": ("parameter q is not passed by name", "q,", "q, /,"),
}


@pytest.mark.parametrize("change", CHANGED)
@pytest.mark.parametrize("version", ["0.6.0", "0.5.2"])
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_signature_is_refused_and_nothing_is_replaced(monkeypatch, name, version, change):
    fault, old, new = CHANGED[change]
    signature = stand_in.SIGNATURES[version][name].replace(old, new, 1)
    assert signature != stand_in.SIGNATURES[version][name]
    stand_in.install(monkeypatch, version, {name: signature})
    with pytest.raises(InvalidInput, match=f"{name} of flash-linear-attention {version}") as error:
        use_gdn_ops()
    assert fault in str(error.value)
    for each in NAMES:
        args = inputs(each).values()
        assert engine(each)(*args)[0] is stand_in.OWN
    (other,) = set(NAMES) - {name}
    with use_gdn_ops(other) as takeover:
        assert takeover.functions == (other,)


def test_a_release_that_offers_one_function_says_so(monkeypatch):
    stand_in.install(monkeypatch, "0.5.0")
    with pytest.raises(InvalidInput, match=r"0\.5\.0 does not offer fla\.ops\.gated_delta_rule"):
        use_gdn_ops()
    x = inputs("chunk_kda")
    assert engine("chunk_kda")(**x)[0] is stand_in.OWN
    state = torch.randn(2, 4, 24, 16)
    with use_gdn_ops("chunk_kda"):
        o, last = engine("chunk_kda")(
            **x, initial_state=state, output_final_state=True, transpose_state_layout=True
        )
    expected = gated_delta_rule_reference(**x, initial_state=state.mT, output_final_state=True)
    torch.testing.assert_close((o, last.mT), expected, rtol=0, atol=1e-5)


def test_a_release_that_does_not_ask_its_backends_is_refused(monkeypatch):
    """As with FLA_DISABLE_BACKEND_DISPATCH=1: the functions are there, and nobody is asked."""
    stand_in.install(monkeypatch, "0.6.0")
    own = stand_in.own_function("chunk_kda", stand_in.SIGNATURES["0.6.0"]["chunk_kda"])
    home = importlib.import_module("fla.backends")
    monkeypatch.setattr(home, "register", lambda entry: lambda backend: backend)
    monkeypatch.setattr(importlib.import_module("fla.ops.kda"), "chunk_kda", own)
    with pytest.raises(InvalidInput, match="FLA_DISABLE_BACKEND_DISPATCH"):
        use_gdn_ops("chunk_kda")
    assert engine("chunk_kda")(**inputs("chunk_kda"))[0] is stand_in.OWN


@pytest.mark.parametrize("missing", ["registry", "BaseBackend", "function"])
def test_another_registry_is_refused_by_name(monkeypatch, missing):
    stand_in.install(monkeypatch, "0.6.0")
    if missing == "registry":
        monkeypatch.delitem(sys.modules, "fla.backends")
        found = r"no registry of backends \(fla\.backends or fla\.ops\.backends\)"
    elif missing == "BaseBackend":
        monkeypatch.delattr(sys.modules["fla.backends"], missing)
        found = r"fla\.backends of flash-linear-attention 0\.6\.0 has no BaseBackend"
    else:
        monkeypatch.delattr(sys.modules["fla.ops.kda"], "chunk_kda")
        found = r"0\.6\.0 has no fla\.ops\.kda\.chunk_kda"
    with pytest.raises(InvalidInput, match=found):
        use_gdn_ops()


def test_without_flash_linear_attention_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fla", None)
    with pytest.raises(InvalidInput, match="pip install flash-linear-attention"):
        use_gdn_ops()


def test_a_function_that_is_not_covered_is_refused():
    with pytest.raises(UnknownName, match="chunk_gla"):
        use_gdn_ops("chunk_gla")


def test_importing_the_integration_does_not_import_the_engine(tmp_path):
    (tmp_path / "fla.py").write_text("raise SystemExit('fla was imported')\n")
    code = "import gdn_ops, gdn_ops.integrations.fla, sys; sys.exit('fla' in sys.modules)"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, check=True)


def guide(title: str) -> tuple[str, list[str]]:
    """Return the Python of the guide that has a title, and the outputs that it shows."""
    page = (Path(__file__).parents[3] / "docs" / "engines.md").read_text()
    page = page[page.index("## flash-linear-attention") :]
    blocks = re.findall(rf'^```python title="{title}"\n(.*?)^```', page, flags=re.M | re.S)
    assert blocks
    return "\n".join(blocks), re.findall(r"^```text\n(.*?)^```", page, flags=re.M | re.S)


def test_the_guide_runs_and_shows_what_is_printed(release, capsys):
    code, (line, _) = guide("with flash-linear-attention")
    scope: dict[str, Any] = {}
    exec(code, scope)
    version = importlib.import_module("fla").__version__
    assert line.replace("0.6.0", version) in capsys.readouterr().out
    x = {name: scope[name] for name in ("q", "k", "v", "g", "beta")}
    expected = gated_delta_rule_reference(**x, output_final_state=True)
    torch.testing.assert_close((scope["o"], scope["state"]), expected, rtol=0, atol=1e-4)


def test_the_guide_shows_a_refusal_in_our_words(monkeypatch):
    registries = stand_in.install(monkeypatch, "0.6.0")
    name = "chunk_gated_delta_rule"
    x = inputs(name)
    with use_gdn_ops():
        engine(name)(**x | {"v": x["v"].bfloat16()})
    _, (_, line) = guide("with flash-linear-attention")
    assert line.rstrip().endswith(f"gdn_ops rejected: {registries[name].refused[-1]}")


@pytest.mark.skipif(not INSTALLED, reason="flash-linear-attention is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_signature_is_that_of_the_installed_release(name):
    version = importlib.import_module("fla").__version__
    if version not in stand_in.SIGNATURES:
        pytest.skip(f"no signature of {version} is recorded")
    recorded = stand_in.own_function(name, stand_in.SIGNATURES[version][name])
    installed = inspect.signature(inspect.unwrap(engine(name))).parameters.values()
    bare = [p.replace(annotation=p.empty) for p in installed]
    assert bare == list(inspect.signature(recorded).parameters.values())
