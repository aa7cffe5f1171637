"""What a cluster's name decides."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster.embedded.layout import SLOTS, Layout, preferred_slots
from e2e.cluster.errors import Missing
from e2e.cluster.provider import checked_name

names = st.from_regex(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?", fullmatch=True)


@given(names)
def test_every_name_that_is_accepted_makes_a_bridge_name_that_linux_accepts(name: str) -> None:
    layout = Layout(checked_name(name), 0)
    assert len(layout.bridge) <= 15
    assert len(layout.node(2).host_link) <= 15


@given(names)
def test_a_name_can_take_any_slot_and_prefers_always_the_same(name: str) -> None:
    assert sorted(preferred_slots(name)) == list(range(SLOTS))
    assert preferred_slots(name) == preferred_slots(name)


def test_long_names_that_begin_alike_have_bridges_of_their_own() -> None:
    one, other = Layout("ambit-integration-1", 0), Layout("ambit-integration-2", 0)
    assert one.bridge != other.bridge


def test_clusters_of_different_slots_share_no_address_and_no_link() -> None:
    layouts = [Layout("any", slot) for slot in range(SLOTS)]
    ranges = sorted(
        (network for layout in layouts for network in (layout.subnet, layout.pods)),
        key=lambda network: network.network_address,
    )
    assert all(left.broadcast_address < right.network_address for left, right in pairwise(ranges))
    links = [layout.node(number).host_link for layout in layouts for number in (1, 2)]
    assert len(set(links)) == len(links)


def test_nodes_of_a_cluster_divide_its_pods_range() -> None:
    layout = Layout("any", 7)
    one, two = layout.node(1), layout.node(2)
    assert not one.pods.overlaps(two.pods)
    assert one.pods.subnet_of(layout.pods)
    assert two.pods.subnet_of(layout.pods)
    assert {one.address, two.address, layout.host} <= set(layout.subnet)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "../a", "a" * 33, "a_b", "1a"])
def test_a_name_that_folders_or_links_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(Missing, match="lower-case letters"):
        checked_name(name)
