"""Races: a copy into a tile that a product in flight still reads is found, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdn_ops.codegen.compiled.races import Race, races
from gdn_ops.codegen.errors import UnreadableCode

RACING, CLEAN, TENSOR = (
    (Path(__file__).parent / "ttgir" / f"{name}.ttgir").read_text()
    for name in ("racing_sm_90", "clean_sm_90", "clean_sm_100")
)
IN_THE_LOOP = "%b_o_65:3 = ttng.warp_group_dot_wait %b_o, %b_x_62, %b_y_64 {pendings = 1 : i32}"
FIRST_BUFFER = "%b_x_17 = ttg.memdesc_index %b_x_13[%c0_i32]"


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def without(text: str, line: str) -> str:
    """The text without the lines that contain another."""
    kept = [row for row in text.splitlines() if line not in row]
    assert len(kept) < len(text.splitlines())
    return "\n".join(kept)


def group(*body: str, slots: int = 1) -> str:
    """A kernel of sm_90 with a tile of some buffers, of which 0 and 1 have names."""
    tile = "!ttg.memdesc<64x64xbf16, #shared, #smem, mutable>"
    return "\n".join(
        [
            "module {",
            "  tt.func public @kernel(%n: i32, %go: i1) {",
            *(f"    %c{i} = arith.constant {i} : i32" for i in range(2)),
            f"    %b_x = ttg.local_alloc : () -> !ttg.memdesc<{slots}x64x64xbf16, #shared>",
            *(f"    %b_x_{i} = ttg.memdesc_index %b_x[%c{i}] : {tile}" for i in range(slots)),
            "    %b_y = ttg.local_alloc %y : (tensor<64x64xbf16>) -> !ttg.memdesc<64x64xbf16>",
            *body,
            "  }",
            "}",
        ]
    )


DOT = (
    "%b_o = ttng.warp_group_dot %{0}, %b_y, %acc {{isAsync = true}} : "
    "!ttg.memdesc<64x64xbf16> * !ttg.memdesc<64x64xbf16> -> tensor<64x64xf32>"
)
WAIT = "%done = ttng.warp_group_dot_wait %b_o {{pendings = {0} : i32}} : tensor<64x64xf32>"
COPY = "%t = ttg.async_copy_global_to_local %p, %{0} mask %m : tensor<64x64x!tt.ptr<bf16>>"
RACE = (Race("b_x", "b_o"),)


def test_a_tile_with_a_buffer_too_few() -> None:
    (race,) = races(RACING)
    assert race == Race("b_x", "b_o")
    assert "copy into b_x" in str(race)
    assert "product b_o" in str(race)
    assert races(CLEAN) == ()


def test_its_remedies() -> None:
    """Waiting for each product makes it clean; so do three buffers, which are one more."""
    waited = changed(RACING, IN_THE_LOOP, IN_THE_LOOP.replace("pendings = 1", "pendings = 0"))
    assert races(waited) == ()
    wider = changed(
        RACING, "%b_s_59 = arith.cmpi sge, %b_s_58, %c2", "%b_s_59 = arith.cmpi sge, %b_s_58, %c3"
    )
    wider = changed(
        wider, "%b_s_74 = arith.cmpi sge, %b_s_73, %c2", "%b_s_74 = arith.cmpi sge, %b_s_73, %c3"
    )
    assert races(wider) == ()


def test_a_clean_loop_made_to_wait_too_little() -> None:
    assert races(changed(CLEAN, "pendings = 1", "pendings = 2")) == (
        Race("b_x", "b_o"),
        Race("b_y", "b_o"),
    )


def test_products_of_tensor_memory_are_waited_for_at_their_barriers() -> None:
    assert races(TENSOR) == ()
    assert races(without(TENSOR, "ttng.wait_barrier %b_o_73")) == (
        Race("b_x", "b_o"),
        Race("b_y", "b_o"),
    )


def test_a_barrier_that_is_waited_for_in_the_wrong_phase_is_not_waited_for() -> None:
    late = changed(
        TENSOR, "ttng.wait_barrier %b_o_73, %b_o_74", "ttng.wait_barrier %b_o_73, %c1_i32"
    )
    assert races(late) == (Race("b_x", "b_o"), Race("b_y", "b_o"))


@pytest.mark.parametrize(
    ("body", "slots", "found"),
    [
        ((DOT.format("b_x_0"), COPY.format("b_x_0")), 1, RACE),
        ((DOT.format("b_x_0"), WAIT.format(0), COPY.format("b_x_0")), 1, ()),
        ((DOT.format("b_x_0"), WAIT.format(1), COPY.format("b_x_0")), 1, RACE),
        ((DOT.format("b_x_0"), DOT.format("b_x_1"), WAIT.format(1), COPY.format("b_x_0")), 2, ()),
        ((DOT.format("b_x_0"), DOT.format("b_x_1"), WAIT.format(1), COPY.format("b_x_1")), 2, RACE),
        # a product that is not asynchronous is over after it
        ((DOT.format("b_x_0").replace("true", "false"), COPY.format("b_x_0")), 1, ()),
        # the buffer is not known, and may be any
        (("%s = ttg.memdesc_index %b_x[%n] : t", DOT.format("b_x_0"), COPY.format("s")), 2, RACE),
        # a view of a tile is the tile
        (("%t = ttg.memdesc_trans %b_x_0 : t", DOT.format("t"), COPY.format("b_x_0")), 1, RACE),
        # and so is what a wait passes on
        (
            ("%w = ttng.warp_group_dot_wait %b_x_0 {pendings = 0 : i32}", DOT.format("w"),
             COPY.format("b_x_0")),
            1,
            RACE,
        ),
        ((DOT.format("b_x_0"), "ttg.local_store %r, %b_x_0 : tensor<64x64xbf16>"), 1, RACE),
        (
            (
                DOT.format("b_x_0"),
                "ttng.async_tma_copy_global_to_local %d[%n, %c0] %b_x_0, %bar, %go : t",
            ),
            1,
            RACE,
        ),
    ],
)  # fmt: skip
def test_what_overwrites_and_what_waits(
    body: tuple[str, ...], slots: int, found: tuple[Race, ...]
) -> None:
    assert races(group(*body, slots=slots)) == found


def test_a_loop_of_unknown_length_and_a_branch_on_an_unknown_condition_are_followed() -> None:
    loop = (
        "scf.for %i = %c0 to %n step %c1 : i32 {",
        COPY.format("b_x_0"),
        DOT.format("b_x_0"),
        "}",
    )
    assert races(group(*loop)) == RACE
    branch = (DOT.format("b_x_0"), "scf.if %go {", WAIT.format(0), "}", COPY.format("b_x_0"))
    assert races(group(*branch)) == RACE
    either = (*branch[:3], "} else {", *branch[2:])
    assert races(group(*either)) == ()


def test_a_kernel_without_asynchronous_products_is_not_read() -> None:
    assert races("anything at all") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (without(RACING, FIRST_BUFFER), "memory of %b_x_17 is not known"),
        (changed(TENSOR, "%b_o_73, %b_o_74 deps", "%b_o_73, %x deps"), "phase of a wait"),
        (group(DOT.format("b_x_0"), "ttg.warp_specialize(%b_x)", "default {", "}"), "partitions"),
    ],
)
def test_what_cannot_be_followed_is_said(text: str, message: str) -> None:
    with pytest.raises(UnreadableCode, match=message):
        races(text)
