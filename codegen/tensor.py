"""The tensors that stages exchange: one name, one shape, one meaning for all templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.dtype import DTYPES, DType
from gdn_ops.codegen.problem import Problem


class Sizes(NamedTuple):
    """The run-time sizes of one call.

    Args:
        B, T: rows and tokens a row of the call's tensors (B is 1 when packed).
        N: sequences.
        NS: segments of all sequences together; a sequence without tokens has one, too.
        NT: chunks; of one row when dense, of all sequences together when packed. Grids put it
            second, where a GPU takes 65535, and heads times rows first, where it takes 2^31.
    """

    B: int
    T: int
    N: int
    NT: int
    NS: int = 0


@dataclass(frozen=True)
class Tensor:
    """One tensor of a plan; contiguous, in the order of ``shape``.

    ``dtype`` is a fixed type, or ``io`` (the problem's dtype), ``state`` (its pool's), or ``store``
    (the plan's choice for intermediates: ``io`` or fp32). A dimension ``G`` is the K key channels
    of a vector gate, and is not there with a scalar one; ``NV`` is the slices that V is cut into by
    an interface's axis ``slice``.
    """

    name: str
    shape: tuple[str, ...]
    dtype: str
    doc: str

    def element(self, problem: Problem, config: Config) -> DType:
        """The element type in a problem and config."""
        name = self.dtype
        if name == "store":
            name = "fp32" if config.get("store") == "fp32" else "io"
        of_problem = {"io": problem.dtype, "state": problem.state_dtype}
        return DTYPES[of_problem.get(name, name)]

    def symbols(self, problem: Problem) -> tuple[str, ...]:
        """The dimensions in a problem."""
        vector = problem.rule.gate == "vector"
        return tuple("K" if s == "G" else s for s in self.shape if vector or s != "G")

    def dims(self, problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
        """The shape in numbers."""
        chunks = sizes.NT if problem.varlen else sizes.NT * sizes.B
        table = {
            "B": sizes.B, "T": sizes.T, "N": sizes.N, "N+1": sizes.N + 1, "chunks": chunks,
            "H": problem.H, "HV": problem.HV, "K": problem.K, "V": problem.V, "2": 2,
            "BT": config.get("BT"),
            "SEG": config.get("SEG"), "segments": sizes.NS, "segments+1": sizes.NS + 1,
            "NV": slices(problem, config),
        }  # fmt: skip
        return tuple(int(table[s] or 0) for s in self.symbols(problem))


def slices(problem: Problem, config: Config) -> int:
    """Slices of V that programs take apart, by the interface's axis ``slice``."""
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
        Tensor("slots", ("N", "S"), "int32", "slots of each sequence; none where negative"),
        Tensor("accepted", ("N",), "int32", "tokens accepted of the last call"),
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
            "P", ("B", "T", "HV", "BT"), "store", "what each token reads of its chunk, vector gate"
        ),
        Tensor("L", ("B", "T", "HV", "BT"), "fp32", "tril(beta K K^T) with a vector gate in it"),
        Tensor(
            "A", ("B", "T", "HV", "BT"), "store", "(I + tril(beta K K^T))^-1, row t of its chunk"
        ),
        Tensor("w", ("B", "T", "HV", "K"), "store", "A (beta exp(gc) k)"),
        Tensor("u", ("B", "T", "HV", "V"), "store", "A (beta v)"),
        Tensor("h", ("chunks", "HV", "K", "V"), "store", "state before each chunk"),
        Tensor("v_new", ("B", "T", "HV", "V"), "store", "u - w S, what each token writes"),
        Tensor(
            "log_norm", ("segments", "HV", "SEG"), "fp32", "log of a chunk's greatest growth of S"
        ),
        Tensor("M", ("segments", "HV", "K", "K"), "fp32", "what a segment multiplies a state by"),
        Tensor("h_local", ("segments", "HV", "K", "V"), "fp32", "what a segment makes of no state"),
        Tensor("whole", ("segments", "HV"), "int32", "0: h_local is of the last chunks, M is none"),
        Tensor("h_start", ("segments", "HV", "K", "V"), "fp32", "state before each segment"),
        Tensor("o", ("B", "T", "HV", "V"), "io", "outputs"),
        Tensor("ht", ("N", "HV", "K", "V"), "fp32", "final state"),
        Tensor("states", ("B", "T", "HV", "V", "K"), "state", "state after each token"),
        Tensor("do", ("B", "T", "HV", "V"), "io", "gradient of o"),
        Tensor("dht", ("N", "HV", "K", "V"), "fp32", "gradient of ht"),
        Tensor("dv_local", ("B", "T", "HV", "V"), "store", "of dv_new, the part by the chunk's o"),
        Tensor("dv_new", ("B", "T", "HV", "V"), "store", "gradient of v_new"),
        Tensor("dh", ("chunks", "HV", "K", "V"), "store", "gradient of the state after each chunk"),
        Tensor("dq_heads", ("B", "T", "HV", "K"), "store", "dq, a value head's part"),
        Tensor("dk_heads", ("B", "T", "HV", "K"), "store", "dk, a value head's part"),
        Tensor("dstate", ("N", "HV", "K", "V"), "fp32", "gradient of the state after a chunk"),
        Tensor("n_rows", ("N", "HV", "BT", "V"), "store", "v_new of the chunk in hand"),
        Tensor("dx_rows", ("N", "HV", "BT", "V"), "store", "A^T dv_new of the chunk in hand"),
        Tensor("dh_local", ("segments", "HV", "K", "V"), "fp32", "of dh_start, a segment's part"),
        Tensor("dh_end", ("segments", "HV", "K", "V"), "fp32", "gradient after each segment"),
        Tensor("dstate_segments", ("segments", "HV", "K", "V"), "fp32", "dstate of a segment"),
        Tensor("n_segments", ("segments", "HV", "BT", "V"), "store", "n_rows of a segment"),
        Tensor("dx_segments", ("segments", "HV", "BT", "V"), "store", "dx_rows of a segment"),
        Tensor("dgc", ("B", "T", "HV", "G"), "fp32", "gradient of gc"),
        Tensor("dA_log_chunks", ("chunks", "HV", "G"), "fp32", "dA_log, a chunk's part"),
        Tensor("ddt_bias_chunks", ("chunks", "HV", "G"), "fp32", "ddt_bias, a chunk's part"),
        Tensor("v_old", ("B", "T", "HV", "V"), "fp32", "what a key reads, exp(g) S^T k"),
        Tensor("dg_reads", ("B", "T", "HV", "NV"), "fp32", "v_old . dv, the part of dg by k"),
        Tensor("dv_wide", ("B", "T", "HV", "V"), "fp32", "dv, not rounded"),
        Tensor("dq_slices", ("B", "T", "HV", "NV", "K"), "fp32", "dq, a slice of V's part"),
        Tensor("dk_slices", ("B", "T", "HV", "NV", "K"), "fp32", "dk, a slice of V's part"),
        Tensor("dk_writes", ("B", "T", "HV", "NV", "K"), "fp32", "of dk_slices, by what k writes"),
        Tensor("dbeta_slices", ("B", "T", "HV", "NV"), "fp32", "dbeta, a slice of V's part"),
        Tensor("dg_slices", ("B", "T", "HV", "NV", "G"), "fp32", "dg, a slice of V's part"),
        Tensor("dA_log_slices", ("N", "HV", "NV"), "fp32", "dA_log, a sequence and slice's part"),
        Tensor("ddt_bias_slices", ("N", "HV", "NV", "G"), "fp32", "ddt_bias, the same"),
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
