"""Who writes which partition: everybody alike, only what must move moves, and evenly."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ambit.ledger.journal.partitioned import Member
from ambit.ledger.partitions.rendezvous import SILENCE_MS, alive, choices, first_choice, partition_of

PARTITIONS = 64
urls = st.lists(st.integers(0, 10_000).map(lambda number: f"http://10.0.0.{number}:8090"), unique=True, max_size=9)


@given(urls)
def test_all_who_know_who_is_alive_agree(members: list[str]) -> None:
    assert choices(PARTITIONS, members) == choices(PARTITIONS, sorted(members, reverse=True))
    assert all((choice in members) if members else choice is None for choice in choices(PARTITIONS, members))


@given(urls.filter(bool), st.data())
def test_when_one_dies_only_its_partitions_move(members: list[str], data: st.DataObject) -> None:
    dead = data.draw(st.sampled_from(members))
    before = choices(PARTITIONS, members)
    after = choices(PARTITIONS, [member for member in members if member != dead])
    assert all(now == then for then, now in zip(before, after, strict=True) if then != dead)
    assert dead not in after


@given(urls, st.integers(20_000, 30_000))
def test_one_that_joins_only_takes(members: list[str], number: int) -> None:
    new = f"http://10.0.0.{number}:8090"
    before, after = choices(PARTITIONS, members), choices(PARTITIONS, [*members, new])
    assert all(now in (then, new) for then, now in zip(before, after, strict=True))


@given(urls.filter(lambda members: len(members) > 1), st.data())
def test_what_one_cannot_write_another_does_and_nothing_else_moves(members: list[str], data: st.DataObject) -> None:
    unable = data.draw(st.sampled_from(members))
    left = data.draw(st.frozensets(st.integers(0, PARTITIONS - 1)))
    before, after = choices(PARTITIONS, members), choices(PARTITIONS, members, {unable: left})
    for number, (then, now) in enumerate(zip(before, after, strict=True)):
        assert (now != unable) if number in left else (now == then)
    nobody = dict.fromkeys(members, left)
    assert choices(PARTITIONS, members, nobody) == before, "somebody has to try"


def test_the_shares_are_even() -> None:
    counted = Counter(
        first_choice(partition, [f"http://l-{number}" for number in range(5)]) for partition in range(5000)
    )
    assert all(800 < count < 1200 for count in counted.values())


def test_trees_are_spread_evenly_over_partitions_for_good() -> None:
    counted = Counter(partition_of(f"budget/team-{number}/main", 16) for number in range(16_000))
    assert len(counted) == 16
    assert all(800 < count < 1200 for count in counted.values())
    # What is on disk depends on these: they must never change.
    assert [partition_of(f"budget/n/{name}", 16) for name in ("a", "b", "c")] == [12, 13, 9]


def test_alive_is_who_spoke_lately_and_follows_everything() -> None:
    members = [
        Member("http://lately", SILENCE_MS, serves=True),
        Member("http://too-long-ago", SILENCE_MS + 1, serves=True),
        Member("http://still-reading", 0, serves=False),
        Member("http://to-a-store-whose-clock-was-ahead", -SILENCE_MS - 1, serves=True),
        Member("http://just-now", -1, serves=True),
    ]
    assert alive(members) == ("http://just-now", "http://lately")
