"""The cache of our own kinds: events and lists may overtake each other, and what vanished unseen is found."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ambit.api.budget import Budget
from ambit.control.store import DELETED, Store
from ambit.kube import Change

NAMES = ("a", "b", "c")


def obj(name: str, version: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"limits": [{"window": "Day", "usd": str(version)}]}}


def a_store() -> tuple[Store[Budget], list[Change[Budget]]]:
    store, seen = Store(Budget), list[Change[Budget]]()
    store.subscribe(seen.append)
    return store, seen


def test_what_vanished_while_nobody_watched_is_reported_as_deleted() -> None:
    store, seen = a_store()
    store.relisted([obj("a", 1), obj("b", 2)], "2")
    assert store.relisted([obj("b", 2)], "9") == 1
    assert [(change.key[1], change.after is None) for change in seen] == [("a", False), ("b", False), ("a", True)]


def test_an_object_made_after_the_list_is_not_taken_for_vanished() -> None:
    store, _ = a_store()
    store.observe("ADDED", obj("new", 10))
    assert store.relisted([], "9") == 0
    assert ("ns", "new") in store.items


def test_a_late_event_brings_nothing_back_and_undoes_nothing() -> None:
    store, _ = a_store()
    store.observe("ADDED", obj("a", 1))
    store.observe(DELETED, obj("a", 5))
    store.observe("MODIFIED", obj("a", 3))
    assert not store.items
    store.observe("ADDED", obj("a", 7))
    store.observe(DELETED, obj("a", 5))
    assert store.items[("ns", "a")].spec.limits[0].usd == "7"


def test_an_object_that_is_listed_again_unchanged_tells_nobody() -> None:
    store, seen = a_store()
    store.observe("ADDED", obj("a", 1))
    store.relisted([obj("a", 1)], "4")
    store.observe(None, obj("a", 1))
    assert len(seen) == 1


def test_an_object_of_another_version_is_kept_out_and_the_others_stay() -> None:
    store, _ = a_store()
    store.relisted([obj("a", 1), {"metadata": obj("b", 2)["metadata"], "spec": {"limits": "?"}}], "2")
    assert list(store.items) == [("ns", "a")]


@given(
    steps=st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.none() | st.integers(0, 5)), max_size=12),
)
def test_whatever_overtakes_what_the_cache_ends_as_the_cluster_is(steps: list[tuple[str, bool, int | None]]) -> None:
    """One history of the cluster. Before an event is delivered, a list may come that is so many events ahead of it."""
    history: list[tuple[str, dict[str, Any]]] = []
    snapshots: list[dict[str, int]] = [{}]
    for version, (name, deletes, _) in enumerate(steps, start=1):
        present = dict(snapshots[-1])
        gone = deletes and present.pop(name, None) is not None
        if not gone:
            present[name] = version
        history.append((DELETED if gone else "MODIFIED", obj(name, version)))
        snapshots.append(present)
    store, _ = a_store()
    for delivered, (event, (_, _, ahead)) in enumerate(zip(history, steps, strict=True)):
        if ahead is not None:
            moment = min(delivered + ahead, len(history))
            store.relisted([obj(name, version) for name, version in snapshots[moment].items()], str(moment))
        store.observe(*event)
    final = {key[1]: int(item.metadata.resource_version) for key, item in store.items.items()}
    assert final == snapshots[-1]
