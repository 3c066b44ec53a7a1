"""Our layer takes the state dict of flash-linear-attention's layer."""

from __future__ import annotations

import pytest

from gdn_ops.layers import GatedDeltaNet

GEOMETRY = {"hidden_size": 32, "expand_v": 1.5, "head_dim": 16, "num_heads": 2, "num_v_heads": 4}


@pytest.fixture
def fla():
    return pytest.importorskip("fla.layers.gated_deltanet")


def test_state_dict_is_that_of_flash_linear_attention():
    """Names and shapes as in fla.layers.GatedDeltaNet 0.6."""
    expected = {
        "q_proj.weight": (32, 32), "k_proj.weight": (32, 32), "v_proj.weight": (96, 32),
        "a_proj.weight": (4, 32), "b_proj.weight": (4, 32), "A_log": (4,), "dt_bias": (4,),
        "q_conv1d.weight": (32, 1, 4), "k_conv1d.weight": (32, 1, 4),
        "v_conv1d.weight": (96, 1, 4), "g_proj.weight": (96, 32), "o_norm.weight": (24,),
        "o_proj.weight": (32, 96),
    }  # fmt: skip
    biases = {"q_conv1d.bias": (32,), "k_conv1d.bias": (32,), "v_conv1d.bias": (96,)}

    def shapes(**options):
        layer = GatedDeltaNet(**GEOMETRY | options)
        return {name: tuple(x.shape) for name, x in layer.state_dict().items()}

    assert shapes() == expected
    assert shapes(conv_bias=True) == expected | biases
    without = lambda word: {n: s for n, s in expected.items() if word not in n}  # noqa: E731
    assert shapes(use_gate=False) == without("g_proj")
    assert shapes(use_short_conv=False) == without("conv1d")


@pytest.mark.filterwarnings("ignore:ShortConvolution is crucial")
@pytest.mark.parametrize("options", [{}, {"conv_bias": True}, {"use_gate": False}], ids=str)
def test_state_dicts_are_exchanged(options, fla):
    theirs, ours = fla.GatedDeltaNet(**GEOMETRY, **options), GatedDeltaNet(**GEOMETRY, **options)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_defaults_are_theirs(fla):
    theirs, ours = fla.GatedDeltaNet(hidden_size=64), GatedDeltaNet(hidden_size=64)
    for name, x in theirs.state_dict().items():
        assert ours.state_dict()[name].shape == x.shape, name
