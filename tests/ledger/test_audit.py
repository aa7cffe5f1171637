"""The audit's chain: whatever is done to its records is found, by the head that the tree keeps."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.audit import (
    AnyEntry,
    AuditedAdjustment,
    AuditedKill,
    AuditedLimits,
    AuditedLoss,
    AuditedRefusal,
    Head,
    Tampering,
    Verified,
    entry_of,
    from_lines,
    seal,
    to_lines,
    verify,
)
from ambit.ledger.records import Record
from ambit.ledger.wire import RefusalReason
from tests.ledger.builders import NOON_MS, SESSION, TEAM

ENTRIES: list[tuple[str, AnyEntry]] = [
    (TEAM, AuditedLimits((Limit(Window.DAY, Resource.USD, 5),), "Etc/UTC")),
    (SESSION, AuditedLoss("gateway", "h#1", Amount(tokens=10))),
    (TEAM, AuditedRefusal(RefusalReason.LIMIT_EXCEEDED, SESSION, Window.DAY, Resource.USD, 5, 5, 0, 1)),
    (TEAM, AuditedAdjustment(Resource.USD, -3, "the provider's invoice says so", "ada")),
    (TEAM, AuditedKill("runs amok", "ada", 2)),
]


def a_chain(entries: list[tuple[str, AnyEntry]] = ENTRIES) -> tuple[list[Record], Head]:
    head = Head()
    records: list[Record] = []
    for number, (path, entry) in enumerate(entries):
        head, record = seal(head, NOON_MS + number, path, entry)
        records.append(record)
    return records, head


def sequence_of(found: Verified | Tampering) -> int:
    assert isinstance(found, Tampering), found
    return found.sequence


def test_a_chain_that_nobody_touched_is_whole() -> None:
    records, head = a_chain()
    assert verify(records, head) == Verified(head, newer=0)
    assert [entry_of(record) for record in records] == [entry for _, entry in ENTRIES]
    assert verify([], Head()) == Verified(Head(), newer=0)


@pytest.mark.parametrize("place", range(5))
def test_a_changed_record_is_found(place: int) -> None:
    records, head = a_chain()
    for changed in (
        msgspec.structs.replace(records[place], at_ms=NOON_MS - 1),
        msgspec.structs.replace(records[place], path="budget/team-b/other"),
        msgspec.structs.replace(records[place], body=records[place].body.replace(b'"event":"', b'"event":"x')),
    ):
        assert sequence_of(verify([*records[:place], changed, *records[place + 1 :]], head)) == place + 1


def test_a_record_that_was_changed_and_hashed_again_is_found_by_the_next() -> None:
    records, head = a_chain()
    reached = Head(2, msgspec.json.decode(records[1].body)["hash"])
    _, forged = seal(reached, NOON_MS + 2, TEAM, AuditedKill("nothing happened", "eve", 0))
    assert sequence_of(verify([*records[:2], forged, *records[3:]], head)) == 4


@pytest.mark.parametrize("place", range(5))
def test_a_removed_record_is_found(place: int) -> None:
    records, head = a_chain()
    assert sequence_of(verify(records[:place] + records[place + 1 :], head)) == place + 1


@pytest.mark.parametrize("kept", range(5))
def test_a_chain_that_is_cut_is_found_by_the_head(kept: int) -> None:
    records, head = a_chain()
    assert sequence_of(verify(records[:kept], head)) == kept + 1


@pytest.mark.parametrize("place", range(6))
def test_an_inserted_record_is_found(place: int) -> None:
    records, head = a_chain()
    for inserted in (records[0], records[-1], seal(Head(), NOON_MS, TEAM, AuditedKill("forged", "eve", 1))[1]):
        if place < 5 or inserted is not records[-1]:
            assert isinstance(verify([*records[:place], inserted, *records[place:]], head), Tampering)


@given(st.permutations(range(5)))
def test_records_in_another_order_are_found(order: list[int]) -> None:
    records, head = a_chain()
    found = verify([records[place] for place in order], head)
    assert isinstance(found, Verified) is (order == sorted(order))


def test_a_chain_that_was_written_anew_is_found_by_the_head() -> None:
    """Hashes alone do not help against somebody who makes them all again."""
    _, head = a_chain()
    forged, _ = a_chain([*ENTRIES[:-1], (TEAM, AuditedKill("nothing happened", "eve", 0))])
    assert sequence_of(verify(forged, head)) == 5
    longer, _ = a_chain([(TEAM, AuditedKill("nothing happened", "eve", 0)), *ENTRIES])
    assert sequence_of(verify(longer, head)) == 5


def test_records_after_the_head_was_read_are_told_apart() -> None:
    records, _ = a_chain()
    _, head = a_chain(ENTRIES[:3])
    assert verify(records, head) == Verified(head, newer=2)
    assert sequence_of(verify([*records[:4], records[2]], head)) == 3


def test_an_export_can_be_verified_elsewhere() -> None:
    records, head = a_chain()
    lines = list(to_lines(records))
    assert list(from_lines(lines)) == records
    assert isinstance(verify(from_lines(lines), head), Verified)
    lines[3] = lines[3].replace(b'"amount":-3', b'"amount":-4')
    assert sequence_of(verify(from_lines(lines), head)) == 4
    first = msgspec.json.decode(lines[0])
    assert first["at"] == "2026-01-01T12:00:00.000+00:00"
    assert first["entry"]["event"] == "Limits"


def test_an_entry_of_a_later_version_is_verified_unread() -> None:
    class Later(msgspec.Struct, frozen=True, tag_field="event", tag="Later"):
        anything: int

    head, record = seal(Head(), NOON_MS, TEAM, Later(7))  # pyright: ignore[reportArgumentType] -- a later version's
    assert isinstance(verify([record], head), Verified)


def test_a_head_is_written_and_read() -> None:
    _, head = a_chain()
    assert Head.parse(str(head)) == head
    for wrong in ("", "5", f"x:{head.hash}", f"5:{head.hash[1:]}", f"5:{head.hash[1:]}g"):
        with pytest.raises(ValueError, match="no head"):
            Head.parse(wrong)
