"""Problems: buckets, ids, and what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.errors import InvalidInput, UnknownName

FACTS = {"op": "forward", "H": 2, "HV": 4, "K": 64, "V": 32, "dtype": "bf16"}

problems = st.builds(
    Problem,
    op=st.sampled_from(["forward", "decode"]),
    H=st.just(2),
    HV=st.sampled_from([2, 4, 6]),
    K=st.integers(1, 256),
    V=st.integers(1, 256),
    dtype=st.sampled_from(["bf16", "fp16", "fp32"]),
    tokens=st.integers(0, 10**7),
    sequences=st.integers(1, 10**4),
    rule=st.builds(Rule, st.sampled_from(["none", "scalar", "vector"]), st.booleans()),
    varlen=st.booleans(),
    initial_state=st.booleans(),
    final_state=st.booleans(),
    grad=st.booleans(),
)


@given(problems)
def test_facts_and_bucket_round_trip(problem: Problem) -> None:
    assert Problem.from_facts(problem.facts()) == problem
    bucket = problem.bucket()
    assert bucket.bucket() == bucket
    assert bucket.tokens >= problem.tokens and bucket.sequences >= problem.sequences
    assert bucket.tokens < 2 * max(1, problem.tokens)


@given(problems, problems)
def test_the_id_names_every_fact(a: Problem, b: Problem) -> None:
    assert (a.id() == b.id()) == (a == b)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"K": 257}, InvalidInput, r"K=257 is outside 1\.\.256"),
        ({"V": 0}, InvalidInput, r"V=0 is outside 1\.\.256"),
        ({"HV": 3}, InvalidInput, "HV=3 .* H=2"),
        ({"op": "backwards"}, UnknownName, "unknown op 'backwards'.*forward"),
        ({"dtype": "fp8"}, UnknownName, "unknown dtype 'fp8'"),
    ],
)
def test_refusals(change: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Problem(**({**FACTS, "tokens": 8, "sequences": 1} | change))  # type: ignore[arg-type]
