"""Packing: the offsets of packed sequences, on the device and on the host."""

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
    """The offsets of packed sequences, and the chunks and segments they are cut into.

    Args:
        cu_seqlens: [N + 1] int32, contiguous: the first token of each sequence, then the end of
            the last one.
        offsets: the same numbers on the host.
    """

    def __init__(self, cu_seqlens: torch.Tensor, offsets: tuple[int, ...]) -> None:
        self.cu_seqlens = cu_seqlens
        self.offsets = offsets
        # Kept here although the functions below cache them: a captured CUDA graph needs the tables
        # for as long as it needs cu_seqlens.
        self._chunks: dict[int, tuple[torch.Tensor, torch.Tensor, int]] = {}
        self._segments: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]] = {}

    def chunks(self, BT: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Cut the sequences into chunks of BT tokens.

        Returns:
            chunk_indices [NT, 2] int32, the sequence of each chunk and its place in the sequence;
            chunk_offsets [N + 1] int32, the first chunk of each sequence; and the number of
            chunks NT.
        """
        if BT not in self._chunks:
            refuse_capture(self.cu_seqlens.device, "making tables of chunks for new cu_seqlens")
            self._chunks[BT] = _chunk_tables(self.offsets, BT, self.cu_seqlens.device)
        return self._chunks[BT]

    def segments(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        """Cut the sequences into segments of ``tokens`` tokens; an empty sequence has one segment.

        Returns:
            cu_segments [NS + 1] int32, the first token of each segment; sequence_of [NS + 1]
            int32, the sequence of each segment; segment_offsets [N + 1] int32, the first segment
            of each sequence; and the number of segments NS.
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
    """Check ``cu_seqlens`` and copy it to the host, once per tensor.

    The result is cached until the tensor is freed or modified, so that all layers of a training
    step copy it from the GPU only once. Tensors made in inference mode have no version counter,
    so their result is not cached; ``host`` avoids the copy for them. On the CPU, where reading is
    cheap, a cached result is compared with the tensor's values.

    Args:
        cu_seqlens: [N + 1] int32 or int64.
        tokens: T of the packed tensors; the last offset may be smaller (padding at the end).
        host: the same numbers on the host (``cu_seqlens_cpu``), which avoids the copy. They are
            compared if ``cu_seqlens`` is on the CPU, and trusted if it is on a GPU.

    Raises:
        InvalidInput: the rank or dtype is wrong, the first offset is not 0, an offset decreases
            or exceeds T, or the numbers in ``host`` differ.
        LaunchError: a CUDA graph is being captured and the tensor is new.
    """
    packing = _remembered(cu_seqlens)
    if packing is None:
        offsets = _offsets(cu_seqlens, host)
        # Contiguous for the kernels; detached, because a cached packing must not keep the tensor
        # that is its key alive.
        packing = Packing(cu_seqlens.detach().to(torch.int32).contiguous(), offsets)
        if not cu_seqlens.is_inference():
            _remember(cu_seqlens, packing)
    elif host is not None and cu_seqlens.device.type == "cpu":
        _compare(packing.offsets, _on_host(host, len(packing.offsets)))
    if packing.offsets[-1] > tokens:
        raise InvalidInput(
            f"cu_seqlens ends at {packing.offsets[-1]} and q has T={tokens} tokens; "
            "the last offset must be <= T."
        )
    return packing


_PACKINGS: dict[int, tuple[weakref.ref[torch.Tensor], int, Packing]] = {}


def _remembered(cu_seqlens: torch.Tensor) -> Packing | None:
    known = _PACKINGS.get(id(cu_seqlens))
    if known is None or known[0]() is not cu_seqlens or known[1] != cu_seqlens._version:
        return None
    packing = known[2]
    # Writes through numpy or ``.data`` do not change the version.
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
    """Return the checked numbers of ``cu_seqlens``, from ``host`` if that avoids a copy."""
    if cu_seqlens.dim() != 1 or cu_seqlens.numel() < 2:
        raise InvalidInput(
            f"cu_seqlens has shape {list(cu_seqlens.shape)}; it must be [N + 1] with N >= 1."
        )
    if cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise InvalidInput(f"cu_seqlens is {cu_seqlens.dtype}; make it int32 or int64.")
    given = None if host is None else _on_host(host, cu_seqlens.numel())
    if given is None or cu_seqlens.device.type == "cpu":
        refuse_capture(cu_seqlens.device, "reading a new cu_seqlens")
        offsets = tuple(cu_seqlens.tolist())
    else:
        offsets = given
    if offsets[0] != 0:
        raise InvalidInput(f"cu_seqlens starts at {offsets[0]}; the first offset must be 0.")
    for n, (a, b) in enumerate(pairwise(offsets)):
        if b < a:
            raise InvalidInput(
                f"cu_seqlens decreases from {a} to {b} at sequence {n}; offsets must not decrease."
            )
    if given is not None:
        _compare(offsets, given)
    return offsets


def _on_host(host: torch.Tensor | Sequence[int], count: int) -> tuple[int, ...]:
    """Return the numbers of ``cu_seqlens_cpu``; there must be ``count`` of them."""
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
            f"cu_seqlens_cpu={shown(host)} is not a list of integers; give cu_seqlens.cpu()."
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
