"""What the loader refuses: each wrong call has a status and a sentence, and launches nothing."""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.rule import Rule
from gdn_ops.dispatch.distance import distance
from tests.tuner.export.cubins import loader as in_c
from tests.tuner.export.cubins.abi import assert_same_launches
from tests.tuner.export.cubins.conftest import DECODE, LARGER, PACKED, VERIFY, Exported
from tests.tuner.export.cubins.loader import NAMES, Buffer, Loader, Refused
from tests.tuner.export.cubins.recording import call_of, pool_call_of

OFFSETS = [0, 70, 130]
Change = Callable[[in_c.Call], object]


@dataclass(frozen=True)
class Calls:
    """A right call of each set."""

    packed: in_c.Call
    decode: in_c.Call
    pool: in_c.Call


@pytest.fixture(scope="module")
def calls(exported: Exported) -> Calls:
    e, pools = exported, [0, 4, 5]
    return Calls(
        assert_same_launches(
            e.loader, e.device, e.folder, e.winners[PACKED.id()],
            call_of(PACKED, 1, 140, OFFSETS), OFFSETS,
        ),
        assert_same_launches(
            e.loader, e.device, e.folder, e.winners[DECODE.id()], call_of(DECODE, 3, 1)
        ),
        assert_same_launches(
            e.loader, e.device, e.folder, e.winners[VERIFY.id()],
            pool_call_of(VERIFY, 2, 5, pools), pools,
        ),
    )  # fmt: skip


@pytest.fixture
def device(exported: Exported) -> Iterator[in_c.Device]:
    yield exported.device
    exported.device.set()


def _tensor(name: str, **fields: int) -> Change:
    def change(call: in_c.Call) -> None:
        for field, value in fields.items():
            setattr(call.tensor[NAMES.index(name)], field, value)

    return change


def _by(name: str, field: str, change: int) -> Change:
    def changed(call: in_c.Call) -> None:
        buffer = call.tensor[NAMES.index(name)]
        setattr(buffer, field, getattr(buffer, field) + change)

    return changed


def _set(**values: object) -> Change:
    return lambda call: [setattr(call, name, value) for name, value in values.items()]


def _offsets(*numbers: int) -> Change:
    return _set(offsets=(c.c_int32 * len(numbers))(*numbers))


@pytest.mark.parametrize(
    ("of", "change", "says"),
    [
        ("packed", _tensor("q", at=0), r"MISSING: tensor q is not given.* call.tensor\[GDN_q\] to"),
        ("packed", _tensor("o", at=0), r"MISSING: tensor o .* set forward-\S+ writes it"),
        ("packed", _by("k", "at", 8),
         r"MISALIGNED: tensor k is at address 0x\w+8; it must be a multiple of 16.*copy the ten"),
        ("packed", _by("v", "bytes", 2), r"WRONG_SIZE: tensor v has \d+ bytes.* check B, T, N"),
        ("packed", _by("o", "bytes", -2), r"WRONG_SIZE: tensor o has \d+ bytes.* writes \d+"),
        ("packed", _tensor("accepted", at=64), "NOT_READ: tensor accepted is given.*leave it out"),
        ("packed", _set(offsets=None), r"MISSING: set forward-\S+ packs its sequences; give their"),
        ("packed", _offsets(1, 70, 130), "WRONG_SIZE: offsets start at 1; the first one must be 0"),
        ("packed", _offsets(0, 70, 60), "WRONG_SIZE: offsets decrease at sequence 1"),
        ("packed", _offsets(0, 70, 141), "WRONG_SIZE: offsets end at 141 and T is 140"),
        ("packed", _set(B=2), "WRONG_SIZE: B is 2 and N 2; packed sequences are one row"),
        ("packed", _set(N=0), "WRONG_SIZE: B is 1 and N 0"),
        ("packed", _set(workspace=Buffer(0, 1 << 30)), "MISSING: call.workspace is not given; al"),
        ("packed", _set(workspace=Buffer(1 << 40, 64)),
         r"WRONG_SIZE: call.workspace has 64 bytes, and gdn_workspace says \d+"),
        ("packed", _set(tables=Buffer(1 << 40, 1)), "call.tables has 1 bytes, and gdn_tables says"),
        ("packed", _set(workspace=Buffer((1 << 40) + 8, 1 << 30)),
         "MISALIGNED: call.workspace is at address 0x10000000008; it must be a multiple of 16"),
        ("packed", _set(T=1 << 31), r"TOO_LARGE: T is 2147483648; it must be from 0 to 2147483647"),
        ("packed", _set(T=-1), "TOO_LARGE: T is -1"),
        ("decode", _set(T=2), r"WRONG_SIZE: T is 2, and set decode-\S+ decodes one token per seq"),
        ("decode", _set(N=4), r"WRONG_SIZE: N is 4 and B 3; set decode-\S+ has one sequence per"),
        ("decode", _set(B=1 << 20, T=1 << 20), r"TOO_LARGE: B \* T is 1099511627776"),
        ("pool", _set(stride_q=200), "MISALIGNED: stride_q is 200 elements; it must be a multiple"),
        ("pool", _set(stride_pool=8), "MISALIGNED: stride_pool is 8 elements"),
        ("pool", _set(stride_pool=-16), "TOO_LARGE: .* stride_pool -16"),
        ("pool", _by("q", "bytes", -2), r"WRONG_SIZE: tensor q has \d+ bytes.* reads at least \d+"),
        ("pool", _by("slots", "bytes", -4), r"WRONG_SIZE: tensor slots .* reads at least \d+"),
        ("pool", _tensor("pool", bytes=4), r"WRONG_SIZE: tensor pool .* writes at least \d+"),
    ],
)  # fmt: skip
def test_a_wrong_call_launches_nothing(
    exported: Exported, calls: Calls, of: str, change: Change, says: str
) -> None:
    problem = {"packed": PACKED, "decode": DECODE, "pool": VERIFY}[of]
    number, right = exported.loader.find(problem.id()), getattr(calls, of)
    wrong = in_c.Call.from_buffer_copy(right)
    change(wrong)
    exported.device.notes()
    with pytest.raises(Refused, match=says):
        exported.loader.launch(number, wrong)
    assert exported.device.notes() == []
    exported.loader.launch(number, right)
    assert exported.device.notes()


@pytest.mark.parametrize(
    ("device_is", "says"),
    [
        ({"major": 8}, r"WRONG_DEVICE: the device has compute capability 8.0, and these kernels "
         r"are compiled for sm_90a \(h200\); run them on such a device, or export for this one"),
        ({"minor": 1}, "WRONG_DEVICE: the device has compute capability 9.1"),
        ({"version": 11080}, r"NO_DRIVER: the driver supports CUDA 11.8, .* need CUDA 1\d.0; upd"),
        ({"context": 0}, "NO_CONTEXT: no CUDA context is current on this thread; make one"),
    ],
)  # fmt: skip
def test_another_device_is_refused(
    exported: Exported, device: in_c.Device, device_is: dict[str, int], says: str
) -> None:
    device.set(**device_is)
    other = Loader(exported.library, device)
    with pytest.raises(Refused, match=says):
        other.open(exported.folder)
    assert other.opened.value is None


def test_another_context_and_set_are_refused(
    exported: Exported, calls: Calls, device: in_c.Device
) -> None:
    number = exported.loader.find(DECODE.id())
    for unknown in (-2, 4):
        with pytest.raises(Refused, match=f"UNKNOWN_SET: there is no set {unknown}; there are set"):
            exported.loader.launch(unknown, calls.decode)
        with pytest.raises(Refused, match="UNKNOWN_SET"):
            exported.loader.load(unknown)
    device.set(context=2)
    with pytest.raises(Refused, match="NO_CONTEXT: the current CUDA context is not that of gdn_op"):
        exported.loader.launch(number, calls.decode)


def test_what_the_driver_refuses_is_named(
    exported: Exported, calls: Calls, device: in_c.Device
) -> None:
    device.set(failing=700)
    number = exported.loader.find(DECODE.id())
    with pytest.raises(
        Refused, match=r"DRIVER_ERROR: cuLaunchKernel of recurrent failed with CUDA_ERROR_ILLEGAL"
    ):
        exported.loader.launch(number, calls.decode)


def test_modules_are_loaded_once_and_unloaded(
    exported: Exported, calls: Calls, device: in_c.Device
) -> None:
    other = Loader(exported.library, device)
    other.open(exported.folder)
    device.notes()
    number = other.find(PACKED.id())
    with pytest.raises(Refused, match=r"NOT_LOADED: set forward-\S+ is not loaded; call gdn_load"):
        other.launch(number, calls.packed)
    other.load(number)
    other.load(number)
    done = device.notes()
    assert [note["call"] for note in done].count("cuModuleLoadData") == 3
    asked = [note for note in done if note["call"] == "cuFuncSetAttribute"]
    # MAX_DYNAMIC_SHARED_SIZE_BYTES, of the stand-in's limit less its 1024 static bytes
    assert {(note["attribute"], note["value"]) for note in asked} <= {(8, 232448 - 1024)}
    other.launch(number, calls.packed)
    device.notes()
    other.close()
    assert [note["call"] for note in device.notes()] == ["cuModuleUnload"] * 3


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "BAD_FILE: .* cannot be read; give gdn_open the folder"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "BAD_FILE: .* is not the file"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "BAD_FILE: .* is not the file"),
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "gdn export verify"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"recurrent", b"recurrenx")),
         "DRIVER_ERROR: cuModuleGetFunction of recurrent_.* failed with CUDA_ERROR_NOT_FOUND"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_refused(
    exported: Exported, device: in_c.Device, tmp_path: Path, damage: Callable[[Path], object],
    says: str,
) -> None:  # fmt: skip
    for path in exported.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (cubin,) = tmp_path.glob("recurrent_*.cubin")
    damage(cubin)
    loader = Loader(exported.library, device)
    loader.open(tmp_path)
    with pytest.raises(Refused, match=says):
        loader.load(loader.find(DECODE.id()))
    loader.close()


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 20))
def test_the_nearest_set_is_that_of_the_dispatcher(
    exported: Exported, tokens: int, sequences: int
) -> None:
    """There are two sets for decode, and one for each other problem."""
    loader = exported.loader
    for problem in (PACKED, VERIFY):
        wanted = replace(problem, tokens=tokens, sequences=sequences)
        assert loader.names()[loader.nearest(wanted)] == problem.id()
    wanted = replace(DECODE, tokens=tokens, sequences=sequences)
    far = {
        own.id(): distance(own.facts(), wanted.bucket().facts()) for own in (DECODE, LARGER)
    }  # fmt: skip
    assert far[loader.names()[loader.nearest(wanted)]] == min(far.values())


def test_a_set_of_another_problem_is_no_neighbour(exported: Exported) -> None:
    assert exported.loader.find(DECODE.id()) == exported.loader.nearest(DECODE)
    assert exported.loader.find(LARGER.id()) == exported.loader.nearest(LARGER)
    for other in (
        replace(DECODE, HV=8), replace(DECODE, initial_state=False), replace(DECODE, dtype="fp16"),
        replace(DECODE, rule=Rule("none")), replace(VERIFY, state_dtype="fp32"),
    ):  # fmt: skip
        assert exported.loader.nearest(other) == -1
    assert exported.loader.find("forward") == -1
