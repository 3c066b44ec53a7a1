"""The archive of a wheel: readers of ZIP and deflate get back what was written."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.render import render
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.archive import archive
from gdn_ops.tuner.export.deflate import LENGTHS, WINDOW, deflated
from tests.problems import FORWARD

CHANCE = random.Random(0)
NOISE = CHANCE.randbytes(WINDOW + 100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        b"abc" * 3,
        b"a" * 10_000,
        bytes(range(256)) * 3,
        NOISE,
        NOISE[:50] + NOISE[100:WINDOW] + NOISE[:50],
        NOISE + NOISE[:200],
        Path(__file__).read_bytes(),
        *(b"wxyz" + b"." + b"wxyz" * (n // 4) + b"wxyz"[: n % 4] for n in range(4, 600, 7)),
    ],
    ids=lambda data: f"{len(data)}-{hashlib.sha256(data).hexdigest()[:6]}",
)
def test_zlib_reads_what_was_deflated(data: bytes) -> None:
    assert zlib.decompress(deflated(data), -zlib.MAX_WBITS) == data


@given(st.lists(st.sampled_from([b"ab", b"abcd", b"\xff\x00", b"xyzxyz", b"q"]), max_size=400))
def test_zlib_reads_any_repetition(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert zlib.decompress(deflated(data), -zlib.MAX_WBITS) == data


@pytest.mark.parametrize("length", range(4, len(LENGTHS)))
def test_a_match_of_every_length_is_read_back(length: int) -> None:
    before = NOISE[:300]
    data = before + before[:length] + b"\x00end"
    packed = deflated(data)
    assert zlib.decompress(packed, -zlib.MAX_WBITS) == data
    assert len(packed) < len(deflated(before)) + 12


def test_text_is_less_than_half_as_long() -> None:
    source = render(KERNELS["scan"], FORWARD, Variant.default("fused", FORWARD).config("scan"))
    assert len(deflated(source.encode())) < len(source) / 2


def test_the_bytes_are_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may change with the encoder, but never with the machine."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    content = {"a/x.py": b"x = 1\n" * 50, "a/y.bin": bytes(range(40)), "a-1.dist-info/W": b"w"}
    found = archive(content, "a-1.dist-info")
    with zipfile.ZipFile(io.BytesIO(found)) as read:
        assert read.testzip() is None
        assert {n: read.read(n) for n in content} == content
        assert [i.compress_type for i in read.infolist()] == [8, 0, 0, 8]
    assert hashlib.sha256(found).hexdigest()[:16] == "0d354c4352cc987e"
