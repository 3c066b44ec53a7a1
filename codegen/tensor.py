"""The tensors that stages exchange: one name, one shape, one meaning for all templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.dtype import DTYPES, DType
from gdn_ops.codegen.problem import Problem


class Sizes(NamedTuple):
    """The run-time sizes of one call. Build them with ``dense``, ``packed`` or ``typical``.

    Args:
        B, T: rows, and tokens per row, of the call's tensors; B is 1 if sequences are packed.
        N: sequences.
        NT: chunks: of one row if dense, of all sequences together if packed. Grids put NT second,
            where a GPU takes 65535, and heads times rows first, where it takes 2^31.
        NS: segments of all sequences together; a sequence without tokens has one, too.
    """

    B: int
    T: int
    N: int
    NT: int
    NS: int = 0

    @classmethod
    def dense(cls, B: int, T: int, BT: int = 0, segment: int = 0) -> Sizes:
        """The sizes of B rows with one sequence of T tokens each.

        Args:
            BT: tokens per chunk; 0 if the plan has no chunks.
            segment: tokens per segment; 0 if the plan has no segments.
        """
        return cls(B, T, B, chunk_count(T, BT), B * segment_count(T, segment))

    @classmethod
    def packed(cls, T: int, lengths: Sequence[int], BT: int = 0, segment: int = 0) -> Sizes:
        """The sizes of one row of T tokens with sequences of these lengths packed in it.

        Args:
            BT, segment: as in ``dense``.
        """
        chunks = sum(chunk_count(length, BT) for length in lengths)
        segments = sum(segment_count(length, segment) for length in lengths)
        return cls(1, T, len(lengths), chunks, segments)

    @classmethod
    def typical(cls, problem: Problem, config: Config) -> Sizes:
        """The sizes of a problem if all its sequences have the same length."""
        N, BT = problem.sequences, int(config.get("BT") or 0)
        T = max(1, problem.tokens // N)
        if problem.varlen:
            return cls.packed(N * T, [T] * N, BT, segment_tokens(config))
        return cls.dense(N, T, BT, segment_tokens(config))

    @property
    def length(self) -> int:
        """Tokens per sequence, on average."""
        return self.B * self.T // self.N


def chunk_count(tokens: int, BT: int) -> int:
    """Chunks of BT tokens in a sequence; 0 if BT is 0."""
    return -(-tokens // BT) if BT else 0


def segment_count(tokens: int, segment: int) -> int:
    """Segments of a sequence, at least one; 0 if a segment has 0 tokens."""
    return max(1, -(-tokens // segment)) if segment else 0


def segment_tokens(config: Config) -> int:
    """Tokens per segment, BT * SEG; 0 if the plan of this config has no segments."""
    return int(config.get("BT") or 0) * int(config.get("SEG") or 0)


@dataclass(frozen=True)
class Tensor:
    """One tensor that a caller or a stage gives to a stage; contiguous.

    Args:
        name: its name in templates and calls.
        shape: the dimensions by their symbols, outermost first. ``G`` is the K key channels of a
            vector gate, and is left out for a scalar gate; ``NV`` is the number of slices that the
            interface axis ``slice`` cuts V into; ``chunks`` and ``segments`` count all of a call.
        dtype: a fixed type, or ``io`` (the problem's dtype), ``state`` (the pool's dtype) or
            ``store`` (the plan's choice for intermediates: ``io`` or fp32).
        doc: what it holds.
    """

    name: str
    shape: tuple[str, ...]
    dtype: str
    doc: str

    def element(self, problem: Problem, config: Config) -> DType:
        """The element type for a problem and config."""
        name = self.dtype
        if name == "store":
            name = "fp32" if config.get("store") == "fp32" else "io"
        of_problem = {"io": problem.dtype, "state": problem.state_dtype}
        return DTYPES[of_problem.get(name, name)]

    def symbols(self, problem: Problem) -> tuple[str, ...]:
        """The dimensions for a problem, by their symbols."""
        vector = problem.rule.gate == "vector"
        return tuple("K" if s == "G" else s for s in self.shape if vector or s != "G")

    def dims(self, problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
        """The shape in numbers; ``slots`` and ``S`` of a pool are known only to its call."""
        chunks = sizes.NT if problem.varlen else sizes.NT * sizes.B
        table = {
            "B": sizes.B, "T": sizes.T, "N": sizes.N, "N+1": sizes.N + 1, "chunks": chunks,
            "H": problem.H, "HV": problem.HV, "K": problem.K, "V": problem.V, "2": 2,
            "BT": int(config.get("BT") or 0), "SEG": int(config.get("SEG") or 0),
            "segments": sizes.NS, "segments+1": sizes.NS + 1, "NV": slices(problem, config),
        }  # fmt: skip
        return tuple(table[s] for s in self.symbols(problem))


def slices(problem: Problem, config: Config) -> int:
    """The number of slices that the interface axis ``slice`` cuts V into; 1 without that axis."""
    return -(-problem.V // int(config.get("slice") or problem.V))


TENSORS = {
    t.name: t
    for t in (
        Tensor("q", ("B", "T", "H", "K"), "io", "queries"),
        Tensor("k", ("B", "T", "H", "K"), "io", "keys"),
        Tensor("v", ("B", "T", "HV", "V"), "io", "values"),
        Tensor("g", ("B", "T", "HV", "G"), "fp32", "log decay, or the raw gate with A_log"),
        Tensor("beta", ("B", "T", "HV"), "fp32", "writing strength"),
        Tensor("A_log", ("HV",), "fp32", "log of the gate's rate"),
        Tensor("dt_bias", ("HV", "G"), "fp32", "bias inside the gate's softplus"),
        Tensor("h0", ("N", "HV", "K", "V"), "fp32", "initial state"),
        Tensor("pool", ("slots", "HV", "V", "K"), "state", "states by slot, or K-first"),
        Tensor("slots", ("N", "S"), "int32", "slots of each sequence; negative: skipped"),
        Tensor("accepted", ("N",), "int32", "accepted tokens of the last call"),
        Tensor("cu_seqlens", ("N+1",), "int32", "first token of each packed sequence"),
        Tensor("chunk_indices", ("chunks", "2"), "int32", "(sequence, chunk in it) of a chunk"),
        Tensor("chunk_offsets", ("N+1",), "int32", "first chunk of each packed sequence"),
        Tensor("cu_segments", ("segments+1",), "int32", "first token of each segment"),
        Tensor("sequence_of", ("segments+1",), "int32", "sequence of each segment; then N"),
        Tensor("segment_offsets", ("N+1",), "int32", "first segment of each sequence"),
        Tensor(
            "gc", ("B", "T", "HV", "G"), "fp32", "log decay summed from the chunk's first token"
        ),
        Tensor(
            "P", ("B", "T", "HV", "BT"), "store", "scores of each token in its chunk, vector gate"
        ),
        Tensor("L", ("B", "T", "HV", "BT"), "fp32", "tril(beta K K^T) with the vector gate"),
        Tensor(
            "A", ("B", "T", "HV", "BT"), "store", "(I + tril(beta K K^T))^-1, row t of its chunk"
        ),
        Tensor("w", ("B", "T", "HV", "K"), "store", "A (beta exp(gc) k)"),
        Tensor("u", ("B", "T", "HV", "V"), "store", "A (beta v)"),
        Tensor("h", ("chunks", "HV", "K", "V"), "store", "state before each chunk"),
        Tensor("v_new", ("B", "T", "HV", "V"), "store", "u - w S, what each token writes"),
        Tensor(
            "log_norm", ("segments", "HV", "SEG"), "fp32", "log of a bound of a chunk's growth of S"
        ),
        Tensor("M", ("segments", "HV", "K", "K"), "fp32", "what a segment multiplies a state by"),
        Tensor("h_local", ("segments", "HV", "K", "V"), "fp32", "state after a segment begun at 0"),
        Tensor("whole", ("segments", "HV"), "int32", "0: decay hides the state before, M is unset"),
        Tensor("h_start", ("segments", "HV", "K", "V"), "fp32", "state before each segment"),
        Tensor("o", ("B", "T", "HV", "V"), "io", "outputs"),
        Tensor("ht", ("N", "HV", "K", "V"), "fp32", "final state"),
        Tensor("states", ("B", "T", "HV", "V", "K"), "state", "state after each token"),
        Tensor("do", ("B", "T", "HV", "V"), "io", "gradient of o"),
        Tensor("dht", ("N", "HV", "K", "V"), "fp32", "gradient of ht"),
        Tensor("dv_local", ("B", "T", "HV", "V"), "store", "part of dv_new from the chunk's o"),
        Tensor("dv_new", ("B", "T", "HV", "V"), "store", "gradient of v_new"),
        Tensor("dh", ("chunks", "HV", "K", "V"), "store", "gradient of the state after each chunk"),
        Tensor("dq_heads", ("B", "T", "HV", "K"), "store", "part of dq from a value head"),
        Tensor("dk_heads", ("B", "T", "HV", "K"), "store", "part of dk from a value head"),
        Tensor("dstate", ("N", "HV", "K", "V"), "fp32", "gradient of the state after a chunk"),
        Tensor("n_rows", ("N", "HV", "BT", "V"), "store", "v_new of the current chunk"),
        Tensor("dx_rows", ("N", "HV", "BT", "V"), "store", "A^T dv_new of the current chunk"),
        Tensor("dh_local", ("segments", "HV", "K", "V"), "fp32", "part of dh_start by its segment"),
        Tensor("dh_end", ("segments", "HV", "K", "V"), "fp32", "gradient after each segment"),
        Tensor("dstate_segments", ("segments", "HV", "K", "V"), "fp32", "dstate of a segment"),
        Tensor("n_segments", ("segments", "HV", "BT", "V"), "store", "n_rows of a segment"),
        Tensor("dx_segments", ("segments", "HV", "BT", "V"), "store", "dx_rows of a segment"),
        Tensor("dgc", ("B", "T", "HV", "G"), "fp32", "gradient of gc"),
        Tensor("dA_log_chunks", ("chunks", "HV", "G"), "fp32", "part of dA_log from a chunk"),
        Tensor("ddt_bias_chunks", ("chunks", "HV", "G"), "fp32", "part of ddt_bias from a chunk"),
        Tensor("v_old", ("B", "T", "HV", "V"), "fp32", "what a key reads, exp(g) S^T k"),
        Tensor("dg_reads", ("B", "T", "HV", "NV"), "fp32", "v_old . dv, part of dg through k"),
        Tensor("dv_wide", ("B", "T", "HV", "V"), "fp32", "dv in fp32"),
        Tensor("dq_slices", ("B", "T", "HV", "NV", "K"), "fp32", "part of dq from a slice of V"),
        Tensor("dk_slices", ("B", "T", "HV", "NV", "K"), "fp32", "part of dk from a slice of V"),
        Tensor("dk_writes", ("B", "T", "HV", "NV", "K"), "fp32", "part of dk_slices by writes"),
        Tensor("dbeta_slices", ("B", "T", "HV", "NV"), "fp32", "part of dbeta from a slice of V"),
        Tensor("dg_slices", ("B", "T", "HV", "NV", "G"), "fp32", "part of dg from a slice of V"),
        Tensor("dA_log_slices", ("N", "HV", "NV"), "fp32", "dA_log from one sequence and slice"),
        Tensor("ddt_bias_slices", ("N", "HV", "NV", "G"), "fp32", "ddt_bias, likewise"),
        Tensor("dq", ("B", "T", "H", "K"), "io", "gradient of q"),
        Tensor("dk", ("B", "T", "H", "K"), "io", "gradient of k"),
        Tensor("dv", ("B", "T", "HV", "V"), "io", "gradient of v"),
        Tensor("dg", ("B", "T", "HV", "G"), "fp32", "gradient of g, or of the raw gate with A_log"),
        Tensor("dbeta", ("B", "T", "HV"), "fp32", "gradient of beta"),
        Tensor("dA_log", ("HV",), "fp32", "gradient of A_log"),
        Tensor("ddt_bias", ("HV", "G"), "fp32", "gradient of dt_bias"),
        Tensor("dh0", ("N", "HV", "K", "V"), "fp32", "gradient of h0"),
    )
}
