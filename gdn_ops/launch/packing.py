"""Packing: where the sequences of one packed row begin, on the device and on the host."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import index

import torch

from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.tensor import chunk_count, segment_count
from gdn_ops.errors import InvalidInput
from gdn_ops.launch.capture import refuse_capture


class Packing:
    """The offsets of packed sequences and the chunks they fall into.

    Args:
        cu_seqlens: [N + 1] int32, contiguous: the first token of each sequence, the last one's end.
        offsets: the same numbers on the host.
    """

    def __init__(self, cu_seqlens: torch.Tensor, offsets: tuple[int, ...]) -> None:
        self.cu_seqlens = cu_seqlens
        self.offsets = offsets
        # kept here too: a captured CUDA graph needs them as long as cu_seqlens itself
        self._chunks: dict[int, tuple[torch.Tensor, torch.Tensor, int]] = {}
        self._segments: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]] = {}

    def chunks(self, BT: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Chunks of BT tokens: (chunk_indices [NT, 2], chunk_offsets [N + 1], NT), int32."""
        if BT not in self._chunks:
            refuse_capture(self.cu_seqlens.device, "making tables of chunks for new cu_seqlens")
            self._chunks[BT] = _chunk_tables(self.offsets, BT, self.cu_seqlens.device)
        return self._chunks[BT]

    def segments(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        """Sequences cut every so many tokens; one without tokens makes one segment, too.

        Returns (cu_segments [NS + 1], sequence_of [NS + 1], segment_offsets [N + 1], NS), int32:
        the first token of each segment, its sequence, and the first segment of each sequence.
        """
        if tokens not in self._segments:
            refuse_capture(self.cu_seqlens.device, "making tables of segments for new cu_seqlens")
            device = self.cu_seqlens.device
            self._segments[tokens] = _segment_tables(self.offsets, tokens, device)
        return self._segments[tokens]


@lru_cache(maxsize=64)
def _chunk_tables(
    offsets: tuple[int, ...], BT: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, int]:
    counts = [chunk_count(b - a, BT) for a, b in pairwise(offsets)]
    indices = [(n, t) for n, count in enumerate(counts) for t in range(count)]
    ends = list(accumulate(counts, initial=0))
    return (
        torch.tensor(indices, dtype=torch.int32, device=device).reshape(-1, 2),
        torch.tensor(ends, dtype=torch.int32, device=device),
        ends[-1],
    )


@lru_cache(maxsize=64)
def _segment_tables(
    offsets: tuple[int, ...], tokens: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    starts: list[int] = []
    sequences: list[int] = []
    firsts = [0]
    for n, (a, b) in enumerate(pairwise(offsets)):
        own = [a + i * tokens for i in range(segment_count(b - a, tokens))]
        starts += own
        sequences += [n] * len(own)
        firsts.append(len(starts))
    tables = ([*starts, offsets[-1]], [*sequences, len(offsets) - 1], firsts)
    cu, of, first = (torch.tensor(x, dtype=torch.int32, device=device) for x in tables)
    return cu, of, first, len(starts)


def packing_of(
    cu_seqlens: torch.Tensor,
    tokens: int,
    host: torch.Tensor | Sequence[int] | None = None,
) -> Packing:
    """Check ``cu_seqlens`` against the row's tokens and read it to the host, once a tensor.

    The result is remembered while the tensor lives unchanged, so that a training step or a layer
    stack reads it back from the device once. Tensors made in inference mode carry no version, so
    for them nothing is remembered; ``host`` saves the read-back there. On the CPU, where reading
    costs next to nothing, the numbers themselves are compared.

    Args:
        cu_seqlens: [N + 1] int32 or int64.
        tokens: T of the packed row; the last offset may fall short of it (padding).
        host: the same numbers on the host (``cu_seqlens_cpu``), which saves the read-back. They
            are trusted where ``cu_seqlens`` is on a GPU, and compared on the CPU.

    Raises:
        InvalidInput: wrong rank or dtype, first offset not 0, offsets that fall, or past T, or
            numbers on the host that are others.
        LaunchError: inside the capture of a CUDA graph, and the tensor was not seen before.
    """
    packing = _remembered(cu_seqlens)
    if packing is None:
        offsets = _offsets(cu_seqlens, host)
        # kernels read it densely; detached, for a remembered packing must not keep its key alive
        packing = Packing(cu_seqlens.detach().to(torch.int32).contiguous(), offsets)
        if not cu_seqlens.is_inference():
            _remember(cu_seqlens, packing)
    elif host is not None and cu_seqlens.device.type == "cpu":
        _compare(packing.offsets, _on_host(host, len(packing.offsets)))
    if packing.offsets[-1] > tokens:
        raise InvalidInput(
            f"cu_seqlens ends at {packing.offsets[-1]} and q has T={tokens} tokens; "
            "the last offset may be T at most."
        )
    return packing


_PACKINGS: dict[int, tuple[weakref.ref[torch.Tensor], int, Packing]] = {}


def _remembered(cu_seqlens: torch.Tensor) -> Packing | None:
    known = _PACKINGS.get(id(cu_seqlens))
    if known is None or known[0]() is not cu_seqlens or known[1] != cu_seqlens._version:
        return None
    packing = known[2]
    # numpy and ``.data`` write without a new version
    if cu_seqlens.device.type == "cpu" and tuple(cu_seqlens.tolist()) != packing.offsets:
        return None
    return packing


def _remember(cu_seqlens: torch.Tensor, packing: Packing) -> None:
    key = id(cu_seqlens)
    reference = weakref.ref(cu_seqlens, lambda _: _PACKINGS.pop(key, None))
    _PACKINGS[key] = (reference, cu_seqlens._version, packing)


def _offsets(
    cu_seqlens: torch.Tensor, host: torch.Tensor | Sequence[int] | None
) -> tuple[int, ...]:
    """The checked numbers of ``cu_seqlens``, from the host where that saves a read-back."""
    if cu_seqlens.dim() != 1 or cu_seqlens.numel() < 2:
        raise InvalidInput(
            f"cu_seqlens has shape {list(cu_seqlens.shape)}; it must be [N + 1] with N >= 1."
        )
    if cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise InvalidInput(f"cu_seqlens is {cu_seqlens.dtype}; make it int32 or int64.")
    given = None if host is None else _on_host(host, cu_seqlens.numel())
    if given is None or cu_seqlens.device.type == "cpu":
        refuse_capture(cu_seqlens.device, "reading cu_seqlens, seen for the first time,")
        offsets = tuple(cu_seqlens.tolist())
    else:
        offsets = given
    if offsets[0] != 0:
        raise InvalidInput(f"cu_seqlens starts at {offsets[0]}; the first offset must be 0.")
    for n, (a, b) in enumerate(pairwise(offsets)):
        if b < a:
            raise InvalidInput(
                f"cu_seqlens falls from {a} to {b} at sequence {n}; offsets must not decrease."
            )
    if given is not None:
        _compare(offsets, given)
    return offsets


def _on_host(host: torch.Tensor | Sequence[int], count: int) -> tuple[int, ...]:
    """The numbers of ``cu_seqlens_cpu``, as many as ``cu_seqlens`` has."""
    if isinstance(host, torch.Tensor):
        if host.dtype not in (torch.int32, torch.int64):
            raise InvalidInput(f"cu_seqlens_cpu is {host.dtype}; make it int32 or int64.")
        if host.dim() != 1:
            raise InvalidInput(f"cu_seqlens_cpu has shape {list(host.shape)}; it must be [N + 1].")
        host = host.tolist()
    try:
        numbers = tuple(map(index, host))
    except TypeError as error:
        raise InvalidInput(
            f"cu_seqlens_cpu={shown(host)} is no list of whole numbers; give cu_seqlens.cpu()."
        ) from error
    if len(numbers) != count:
        raise InvalidInput(
            f"cu_seqlens_cpu has {len(numbers)} offsets and cu_seqlens {count}; "
            "give the same numbers in both."
        )
    return numbers


def _compare(offsets: tuple[int, ...], given: tuple[int, ...]) -> None:
    for n, (ours, theirs) in enumerate(zip(offsets, given, strict=True)):
        if ours != theirs:
            raise InvalidInput(
                f"cu_seqlens_cpu[{n}] is {theirs} and cu_seqlens[{n}] is {ours}; "
                "give the same numbers in both, or leave cu_seqlens_cpu out."
            )
