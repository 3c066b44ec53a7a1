"""Problems: buckets, ids, and what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.problem import OPS, Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.errors import InvalidInput, UnknownName

FACTS = {"op": "forward", "H": 2, "HV": 4, "K": 64, "V": 32, "dtype": "bf16"}

POOL = {
    "state_dtype": st.sampled_from(["bf16", "fp16", "fp32"]),
    "state_v_first": st.booleans(),
    "verify": st.booleans(),
    "qk_l2norm": st.booleans(),
    "beta_sigmoid": st.booleans(),
}

problems = st.builds(
    lambda pool, **facts: Problem(**facts, **(pool if facts["op"] == "pool" else {})),
    pool=st.fixed_dictionaries(POOL),
    op=st.sampled_from(OPS),
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
)


@given(problems)
def test_facts_and_bucket_round_trip(problem: Problem) -> None:
    assert Problem.from_facts(problem.facts()) == problem
    bucket = problem.bucket()
    assert bucket.bucket() == bucket
    assert bucket.tokens >= problem.tokens and bucket.sequences >= problem.sequences
    assert bucket.tokens < 2 * max(1, problem.tokens)


def test_facts_of_a_pool_stand_where_they_say_something() -> None:
    """So that rows that were stored before there were pools are as they were."""
    forward = Problem(**FACTS, tokens=8, sequences=1)  # type: ignore[arg-type]
    assert not {"state_dtype", "state_v_first", "verify", "qk_l2norm"} & forward.facts().keys()
    pool = Problem(
        **{**FACTS, "op": "pool"}, tokens=8, sequences=2, state_dtype="bf16", verify=True
    )  # type: ignore[arg-type]
    assert pool.id() == "pool-scalar-delta-N2-L8-H2-HV4-K64-V32-bf16-state.bf16-verify"
    assert pool.facts()["state_dtype"] == "bf16"
    assert "qk_l2norm" not in pool.facts()


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
        ({"op": "pool", "state_dtype": "fp8"}, UnknownName, "unknown dtype 'fp8'"),
        ({"verify": True}, InvalidInput, "verify=True with op='forward'.*'pool'"),
    ],
)
def test_refusals(change: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Problem(**({**FACTS, "tokens": 8, "sequences": 1} | change))  # type: ignore[arg-type]
