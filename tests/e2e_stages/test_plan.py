"""Which stages run beside which, in what order, and for how long a cluster is needed."""

import pytest

from e2e.stages.catalogue import STAGES
from e2e.stages.plan import ClusterNeed, Stage, startable, superfluous
from tests.e2e_cluster import own_cluster

NODE = ClusterNeed("node", nodes=1)


def a_stage(name: str, lane: str = "a", after: tuple[str, ...] = (), cluster: ClusterNeed | None = None) -> Stage:
    return Stage(name, ["true"], 60, lane, after, cluster)


def names(stages: list[Stage]) -> list[str]:
    return [stage.name for stage in stages]


def test_each_lane_starts_its_first_stage_and_no_second_beside_it() -> None:
    stages = [a_stage("one", "a"), a_stage("two", "a"), a_stage("other", "b")]
    assert names(startable(stages, set(), set())) == ["one", "other"]
    assert names(startable(stages, set(), {"one"})) == ["other"]
    assert names(startable(stages, set(), {"one", "other"})) == []
    assert names(startable(stages, {"one"}, {"other"})) == ["two"]


def test_a_stage_waits_for_what_it_comes_after_and_holds_up_its_lane() -> None:
    stages = [a_stage("build", "b"), a_stage("unit", "a", ("build",)), a_stage("later", "a")]
    assert names(startable(stages, set(), set())) == ["build"]
    assert names(startable(stages, set(), {"build"})) == []
    assert names(startable(stages, {"build"}, set())) == ["unit"]


def test_a_stage_that_was_asked_for_alone_waits_for_no_other() -> None:
    assert names(startable([a_stage("unit", "a", ("build",))], set(), set())) == ["unit"]


def test_a_cluster_is_superfluous_once_every_stage_that_needs_it_has_passed() -> None:
    other = ClusterNeed("other", nodes=0)
    stages = [a_stage("demo", cluster=NODE), a_stage("unit"), a_stage("cluster", cluster=NODE)]
    assert superfluous([NODE], stages, {"demo"}) == []
    assert superfluous([NODE, other], stages, {"demo"}) == [other]
    assert superfluous([NODE], stages, {"demo", "cluster"}) == [NODE]


@pytest.mark.parametrize("chosen", [STAGES, STAGES[::2], STAGES[1::2]], ids=["all", "some", "others"])
def test_every_stage_of_make_test_gets_its_turn(chosen: tuple[Stage, ...]) -> None:
    passed: set[str] = set()
    while len(passed) < len(chosen):
        now = startable(chosen, passed, set())
        assert now, f"nothing can start after {passed}"
        passed |= {stage.name for stage in now}


def test_the_clusters_that_tests_start_are_taken_down_should_their_stage_be_killed() -> None:
    (stage,) = (stage for stage in STAGES if stage.starts)
    assert set(stage.starts) == {own_cluster.NAME, own_cluster.OTHER}


def test_a_cluster_of_one_name_has_one_shape() -> None:
    clusters = {stage.cluster for stage in STAGES if stage.cluster is not None}
    assert len({cluster.name for cluster in clusters}) == len(clusters)
