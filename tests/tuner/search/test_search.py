"""The search of one space on recorded timings: every strategy, budgets, what is never run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.report.progress import SearchStarted, TrialEnded
from gdn_ops.tuner.search.space_search import Options, search
from gdn_ops.tuner.search.trial_runner import STOP_FACTOR, TrialRunner
from gdn_ops.tuner.spaces.space import Space, plans_for
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.strategies import (
    STRATEGIES,
    StrategySetup,
    make_strategy,
    missing_package,
    strategy_for,
)
from gdn_ops.tuner.workers.harness import Verdict
from tests.tuner.search.recorded import (
    CPU,
    PROBLEM,
    Bench,
    RecordedHarness,
    bench,
    stage_seconds,
    toy_plans,
)

ALL = Options(trials=100)
QUICK = [
    pytest.param(name, marks=pytest.mark.skipif(missing is not None, reason=str(missing)))
    for name in STRATEGIES
    if name != "gp"  # takes 0.1 s or more per config; its own test is in ../strategies
    for missing in [missing_package(name)]
]


@pytest.fixture
def single() -> Iterator[Space]:
    with toy_plans("single"):
        yield plans_for(PROBLEM, CPU)["single"][0][0]


@pytest.fixture
def large() -> Iterator[Space]:
    with toy_plans("large"):
        yield plans_for(PROBLEM, CPU)["large"][0][0]


def outcome(seconds: float) -> Outcome:
    return Outcome(status="ok", median=seconds)


def tried(bench: Bench) -> Counter[str]:
    """How often each variant was measured."""
    return Counter(text for text, _ in bench.harness.measured)


@pytest.mark.parametrize("name", QUICK)
def test_a_strategy_asks_each_valid_config_once_and_then_ends(name: str, single: Space) -> None:
    strategy = make_strategy(name, StrategySetup(space=single, first=single.configs[:1], seed=1))
    asked = []
    while (config := strategy.ask()) is not None:
        asked.append(single.point(config))
        strategy.tell(config, outcome(stage_seconds("single", config)))
    assert asked[0] == single.point(single.configs[0])
    assert sorted(map(str, asked)) == sorted(str(single.point(c)) for c in single.configs)


@pytest.mark.parametrize("name", QUICK)
def test_a_strategy_leaves_out_what_is_known(name: str, single: Space) -> None:
    known = [(config, outcome(1e-3)) for config in single.configs[:20]]
    strategy = make_strategy(
        name, StrategySetup(space=single, known=known, first=single.configs[:1])
    )
    asked = set()
    while (config := strategy.ask()) is not None:
        asked.add(single.point(config))
        strategy.tell(config, outcome(1e-3))
    assert asked == {single.point(config) for config in single.configs[20:]}


@pytest.mark.parametrize("name", QUICK)
def test_a_strategy_may_be_asked_several_times_before_it_is_told(name: str, single: Space) -> None:
    strategy = make_strategy(name, StrategySetup(space=single))
    batch = [strategy.ask() for _ in range(8)]
    points = {single.point(config) for config in batch if config is not None}
    assert len(points) == 8
    for config in batch:
        assert config is not None
        strategy.tell(config, Outcome(status="timeout", message="hung"))
    again = strategy.ask()
    assert again is not None and single.point(again) not in points


@pytest.mark.parametrize("name", ["tpe", "model"])
def test_the_best_of_256_is_found_in_a_third_of_them_despite_failures(
    name: str, large: Space
) -> None:
    def recorded(config: Config) -> Outcome:
        if config["a"] == 8:
            return Outcome(status="wrong", message="recorded")
        return outcome(stage_seconds("large", config))

    ranks = []
    order = sorted(stage_seconds("large", c) for c in large.configs if c["a"] != 8)
    for seed in range(3):
        strategy = make_strategy(
            name, StrategySetup(space=large, first=large.configs[:1], seed=seed)
        )
        best = float("inf")
        for _ in range(80):
            config = strategy.ask()
            assert config is not None
            result = recorded(config)
            strategy.tell(config, result)
            best = min(best, result.median or best)
        ranks.append(order.index(best))
    assert sorted(ranks)[1] == 0, ranks
    assert max(ranks) < 5, ranks


def test_auto_enumerates_what_the_trials_cover(single: Space, large: Space) -> None:
    assert strategy_for("auto", single, trials=30) == "enumeration"
    assert strategy_for("auto", single, trials=29) == "model"
    assert strategy_for("tpe", single, trials=1000) == "tpe"


def test_a_search_of_tpe_goes_on_with_the_model(large: Space) -> None:
    known = []
    earlier = make_strategy("tpe", StrategySetup(space=large))
    for _ in range(12):
        config = earlier.ask()
        assert config is not None
        known.append((config, outcome(stage_seconds("large", config))))
        earlier.tell(*known[-1])
    later = make_strategy("model", StrategySetup(space=large, known=known))
    new = [later.ask() for _ in range(4)]
    points = {large.point(config) for config in new if config is not None}
    assert len(points) == 4 and not points & {large.point(config) for config, _ in known}
    states = Counter(trial.state.name for trial in later.study.get_trials())  # type: ignore[attr-defined]
    assert states == {"COMPLETE": 12, "RUNNING": 4}


@pytest.mark.parametrize("strategy", ["auto", "tpe"])
def test_a_search_returns_the_best_and_records_every_trial(
    strategy: str, tmp_path: Path, single: Space
) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        options = Options(trials=100, strategy=strategy)
        found = search(single, runner, options=options, deadline=NO_DEADLINE)
        assert found is not None
        assert found.config == {"tile": 64, "warps": 2, "form": "fancy"}
        assert len(b.store.trials()) == len(single.configs) == len(b.harness.measured)
        assert set(tried(b).values()) == {1}
        reported = {e.trial.id for e in b.events if isinstance(e, TrialEnded)}
        assert reported == {trial.id for trial in b.store.trials()}


def test_a_search_keeps_to_its_trials_and_a_second_run_takes_them_over(
    tmp_path: Path, single: Space
) -> None:
    path = tmp_path / "r.db"
    with bench(path, RecordedHarness()) as b:
        search(
            single,
            TrialRunner(b.context, PROBLEM),
            options=Options(trials=10),
            deadline=NO_DEADLINE,
        )
        assert len(b.harness.measured) == 10
    with bench(path, RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        search(single, runner, options=Options(trials=10), deadline=NO_DEADLINE)
        assert b.harness.measured == [], "all ten were known"
        search(single, runner, options=Options(trials=15), deadline=NO_DEADLINE)
        assert len(b.harness.measured) == 5
        search(single, runner, options=Options(trials=4, again=True), deadline=NO_DEADLINE)
        assert len(b.harness.measured) == 9
        assert set(tried(b).values()) == {1}
        search(single, runner, options=Options(trials=100), deadline=NO_DEADLINE)
        told = [event.trials for event in b.events if isinstance(event, SearchStarted)]
        assert told == [0, 5, 4, len(single.configs) - 19], "at most what the space has left"


def test_no_trial_begins_after_the_deadline(tmp_path: Path, single: Space) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        runner = TrialRunner(b.context, PROBLEM)
        assert search(single, runner, options=ALL, deadline=Deadline.after(-1)) is None
        assert b.harness.measured == []


def test_a_known_hang_is_never_run_again(tmp_path: Path, single: Space) -> None:
    path = tmp_path / "r.db"
    hang = str(single.variant({"tile": 16, "warps": 1, "form": "plain"}))
    harness = RecordedHarness(failures={hang: "timeout"})
    for _ in range(2):
        with bench(path, harness) as b:
            search(single, TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
    assert tried(b)[hang] == 1
    assert [t.outcome.status for t in b.store.trials(status="timeout")] == ["timeout"]


def test_what_is_not_right_is_recorded_and_never_timed(tmp_path: Path, single: Space) -> None:
    best = str(single.variant({"tile": 64, "warps": 2, "form": "fancy"}))
    harness = RecordedHarness(verdicts={best: Verdict(status="wrong", message="o is off")})
    with bench(tmp_path / "r.db", harness) as b:
        found = search(single, TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        assert found is not None and str(single.variant(found.config)) != best
        assert tried(b)[best] == 0
        assert [t.outcome.message for t in b.store.trials(status="wrong")] == ["o is off"]


def test_configs_are_compiled_side_by_side_and_what_cannot_launch_is_not_run(
    tmp_path: Path, single: Space
) -> None:
    config = {"tile": 64, "warps": 2, "form": "fancy"}
    resources = {"registers": 32, "stack": 8}
    compilations = {
        str({"tile": 128, "warps": 1, "form": "plain"}): Verdict(status="timeout"),
        str({"tile": 128, "warps": 8, "form": "plain"}): Verdict(
            status="invalid", message="shared memory"
        ),
        str(config): Verdict(status="ok", resources=resources),
    }
    harness = RecordedHarness(compilations=compilations)
    with bench(tmp_path / "r.db", harness) as b:
        runner = TrialRunner(b.context, PROBLEM)
        found = search(single, runner, options=Options(trials=100, width=8), deadline=NO_DEADLINE)
        assert found is not None and found.config == config
        assert harness.compiled == [8, 8, 8, 6]
        assert len(harness.verified) == len(harness.measured) == len(single.configs) - 2
        assert [t.outcome.message for t in b.store.trials(status="invalid")] == ["shared memory"]
        assert len(b.store.trials(status="timeout")) == 1
        known = {t.variant_id: t.outcome.resources for t in b.store.trials(status="ok")}
        assert known[single.variant(config).id].items() >= resources.items()


def test_of_configs_that_cannot_be_predicted_those_that_spill_come_last(
    tmp_path: Path, single: Space
) -> None:
    first, *others = single.configs[:4]
    spilling = {str(first): Verdict(status="ok", resources={"stack": 64})}
    with bench(tmp_path / "r.db", RecordedHarness(compilations=spilling)) as b:
        order = TrialRunner(b.context, PROBLEM).prepare(single, [first, *others])()
    assert order == [*others, first]


def test_slow_configs_are_left_early(tmp_path: Path, single: Space) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        search(single, TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        stops = [effort.stop_above for effort in b.harness.efforts]
        assert stops[0] is None
        assert stops[-1] == pytest.approx(STOP_FACTOR * 0.8e-3)
        assert [e.reference for e in b.harness.efforts] == [True] + [False] * (len(stops) - 1)


def test_eager_times_are_not_ranked_among_those_of_graphs(tmp_path: Path, single: Space) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        runner, config = TrialRunner(b.context, PROBLEM), single.configs[5]
        eager = Outcome(status="ok", median=1e-9, low=1e-9, high=1e-9, method="cuda-eager")
        runner.record(single.key(config), eager, single.variant(config), label="")
        found = search(single, runner, options=ALL, deadline=NO_DEADLINE)
        assert found is not None and found.config != config
        stops = [effort.stop_above for effort in b.harness.efforts]
        assert stops[0] is None, "nor is anything left early for it"


def test_the_gates_verdict_holds_for_every_size_of_a_problem(tmp_path: Path, single: Space) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        search(single, TrialRunner(b.context, PROBLEM), options=ALL, deadline=NO_DEADLINE)
        count = len(b.harness.verified)
        other = PROBLEM.__class__.from_facts({**PROBLEM.facts(), "tokens": 128})
        (space,) = plans_for(other, CPU)["single"][0]
        search(space, TrialRunner(b.context, other), options=ALL, deadline=NO_DEADLINE)
        assert len(b.harness.verified) == count
        assert len(b.harness.measured) == 2 * count


def test_a_search_begins_where_the_nearest_problem_ended(tmp_path: Path, large: Space) -> None:
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        best = {"a": 4, "b": 2, "c": 8, "d": 1}
        TrialRunner(b.context, PROBLEM).run(large, best, best=None)
        other = PROBLEM.__class__.from_facts({**PROBLEM.facts(), "tokens": 128})
        (space,) = plans_for(other, CPU)["large"][0]
        search(
            space, TrialRunner(b.context, other), options=Options(trials=2), deadline=NO_DEADLINE
        )
        default, second = b.harness.measured[1:]
        assert default == ("large", None)
        assert second == (str(space.variant(best)), None)
