"""The work queue: nothing lost, nothing twice at once, failures rest longer and longer."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ambit.control.workqueue import LONGEST_RETRY_S, Schedule, WorkQueue

A = ("sandbox", "ns", "a")
B = ("sandbox", "ns", "b")


def test_a_key_added_often_is_taken_once() -> None:
    schedule = Schedule[tuple[str, str, str]]()
    for _ in range(3):
        schedule.add(A, due=1.0)
    assert schedule.take(1.0) == A
    assert schedule.take(9.0) is None


def test_the_earlier_time_wins() -> None:
    schedule = Schedule[tuple[str, str, str]]()
    schedule.add(A, due=60.0)
    schedule.add(A, due=2.0)
    schedule.add(A, due=30.0)
    assert schedule.next_due() == 2.0
    assert schedule.take(1.9) is None
    assert schedule.take(2.0) == A
    schedule.done(A)
    assert schedule.next_due() is None, "the later wishes were the same wish"


def test_a_key_in_flight_is_not_given_out_again_but_comes_back_when_done() -> None:
    schedule = Schedule[tuple[str, str, str]]()
    schedule.add(A, due=0.0)
    assert schedule.take(0.0) == A
    schedule.add(A, due=0.0)
    assert schedule.take(5.0) is None
    schedule.done(A)
    assert schedule.take(5.0) == A


def test_the_longest_due_goes_first() -> None:
    schedule = Schedule[tuple[str, str, str]]()
    schedule.add(B, due=2.0)
    schedule.add(A, due=1.0)
    assert [schedule.take(9.0), schedule.take(9.0)] == [A, B]


def test_failures_rest_twice_as_long_each_time_up_to_a_minute_and_success_forgets_them() -> None:
    schedule = Schedule[tuple[str, str, str]]()
    delays = [schedule.retry_delay(A) for _ in range(12)]
    assert delays[:3] == [0.1, 0.2, 0.4]
    assert delays[-1] == LONGEST_RETRY_S
    assert schedule.retry_delay(B) == 0.1, "one key's failures are not another's"
    schedule.forget_failures(A)
    assert schedule.retry_delay(A) == 0.1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "take", "done"]), st.integers(0, 5))))
def test_whatever_the_order_every_added_key_is_worked_on_after_its_last_add(
    steps: list[tuple[str, str, int]],
) -> None:
    schedule = Schedule[tuple[str]]()
    in_flight: set[tuple[str]] = set()
    owed: set[tuple[str]] = set()
    for name, what, due in steps:
        key = (name,)
        if what == "add":
            schedule.add(key, float(due))
            owed.add(key)
        elif what == "take":
            taken = schedule.take(10.0)
            if taken is not None:
                assert taken not in in_flight
                in_flight.add(taken)
                owed.discard(taken)
        elif key in in_flight:
            schedule.done(key)
            in_flight.discard(key)
    for key in in_flight:
        schedule.done(key)
    while (taken := schedule.take(10.0)) is not None:
        owed.discard(taken)
        schedule.done(taken)
    assert not owed


async def test_a_waiting_worker_wakes_for_an_add_and_for_a_delay() -> None:
    queue = WorkQueue[tuple[str, str, str]]()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    assert await asyncio.wait_for(waiting, 60) == A
    queue.add(B, delay_s=0.01)
    assert await asyncio.wait_for(queue.get(), 60) == B


async def test_two_waiting_workers_get_two_keys() -> None:
    queue = WorkQueue[tuple[str, str, str]]()
    workers = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add(A)
    queue.add(B)
    assert set(await asyncio.wait_for(asyncio.gather(*workers), 60)) == {A, B}
