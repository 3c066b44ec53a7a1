"""Deflate (RFC 1951), so that the same data has the same bytes everywhere.

What zlib writes depends on its version and on who built it, so wheels made with it differ from
machine to machine. This encoder finds matches greedily and uses the fixed Huffman codes; text
takes about a third more than with zlib. Any reader of ZIP archives can read it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

WINDOW = 32768
SHORTEST, LONGEST = 4, 258
"""Bytes of a match. The format allows 3, which rarely saves anything."""
END = 256


def deflated(data: bytes) -> bytes:
    """Return data as one deflate block, without a header or checksum."""
    bits, count = 0b011, 3  # the last block, fixed codes
    out = bytearray()
    for value, width in _codes(data):
        bits |= value << count
        count += width
        if count >= 32:
            out += (bits & 0xFFFFFFFF).to_bytes(4, "little")
            bits >>= 32
            count -= 32
    return bytes(out + bits.to_bytes((count + 7) // 8, "little"))


def _codes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the bits of each literal and match, lowest first, and how many they are."""
    latest: dict[bytes, int] = {}
    at, end = 0, len(data)
    while at < end:
        start = data[at : at + SHORTEST]
        before = latest.get(start, -1 - WINDOW)
        latest[start] = at
        if at - before > WINDOW or len(start) < SHORTEST:
            yield LITERALS[data[at]]
            at += 1
            continue
        length = _common(data, before, at)
        yield LENGTHS[length]
        yield _distance(at - before)
        for i in range(at + 1, at + length):
            latest[data[i : i + SHORTEST]] = i
        at += length
    yield LITERALS[END]


def _common(data: bytes, before: int, at: int) -> int:
    """How many bytes from two places are the same, at most ``LONGEST``."""
    least, most = SHORTEST, min(LONGEST, len(data) - at)
    while least < most:
        middle = (least + most + 1) // 2
        if data[before : before + middle] == data[at : at + middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _reversed(code: int, width: int) -> int:
    return int(f"{code:0{width}b}"[::-1], 2)


def _literal(symbol: int) -> tuple[int, int]:
    """The fixed Huffman code of a literal, the end, or a length code."""
    for first, code, width in ((280, 0xC0, 8), (256, 0, 7), (144, 0x190, 9), (0, 0x30, 8)):
        if symbol >= first:
            return _reversed(code + symbol - first, width), width
    raise AssertionError(symbol)


def _bases(first: int, each: int, groups: int) -> list[tuple[int, int]]:
    """The smallest value and the number of extra bits of each code: ``each`` codes per number."""
    found, value = [], first
    for code in range(groups):
        extra = max(0, code // each - 1)
        found.append((value, extra))
        value += 1 << extra
    return found


LITERALS = [_literal(symbol) for symbol in range(286)]
_LENGTH_BASES = [*_bases(3, 4, 28), (LONGEST, 0)]
_DISTANCE_BASES = _bases(1, 2, 30)
_DISTANCES = [base for base, _ in _DISTANCE_BASES]


def _length(length: int) -> tuple[int, int]:
    code = bisect_right(_LENGTH_BASES, (length, LONGEST)) - 1
    base, extra = _LENGTH_BASES[code]
    bits, width = LITERALS[END + 1 + code]
    return bits | (length - base) << width, width + extra


LENGTHS = [_length(max(length, 3)) for length in range(LONGEST + 1)]


def _distance(distance: int) -> tuple[int, int]:
    code = bisect_right(_DISTANCES, distance) - 1
    base, extra = _DISTANCE_BASES[code]
    return _reversed(code, 5) | (distance - base) << 5, 5 + extra
