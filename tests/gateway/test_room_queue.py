"""Who waits behind whom: only calls that the same full account bounds, and among them the oldest asks first."""

import asyncio

from ambit.gateway.room_queue import RoomQueue, Ticket

TEAM, A, B = "budget/n/team", "agent/n/a", "agent/n/b"


def test_a_newcomer_queues_only_where_its_own_accounts_are_waited_for() -> None:
    queue = RoomQueue()
    own = queue.enter("session/n/1", "session/n/1", A)
    assert queue.account_in_the_way("session/n/1", A) == "session/n/1"
    assert queue.account_in_the_way("session/n/2", A) is None
    shared = queue.enter(A, "session/n/2", A)
    assert queue.account_in_the_way("session/n/3", A) == A
    assert queue.account_in_the_way("session/n/4", B) is None
    assert queue.account_in_the_way("session/n/1", A) == "session/n/1"
    queue.leave(own)
    assert queue.account_in_the_way("session/n/1", A) == A
    queue.leave(shared)
    assert queue.account_in_the_way("session/n/1", A) is None
    assert queue.waiting == 0


def test_calls_of_several_agents_that_wait_for_one_budget_are_served_in_turn() -> None:
    queue = RoomQueue()
    first = queue.enter(TEAM, "session/n/1", A)
    second = queue.enter(TEAM, "session/n/2", B)
    assert queue.account_in_the_way("session/n/3", B) == TEAM
    assert (queue.may_ask(first), queue.may_ask(second)) == (True, False)
    queue.leave(first)
    assert queue.may_ask(second)


def test_the_first_of_a_queue_makes_way_where_another_account_holds_it_up() -> None:
    queue = RoomQueue()
    first = queue.enter(A, "session/n/1", A)
    of_the_same_session = queue.enter(A, "session/n/1", A)
    other = queue.enter(A, "session/n/2", A)
    queue.move(first, "session/n/1")
    assert (queue.may_ask(first), queue.may_ask(of_the_same_session), queue.may_ask(other)) == (True, False, True)
    queue.move(of_the_same_session, "session/n/1")
    assert (queue.may_ask(first), queue.may_ask(of_the_same_session), queue.may_ask(other)) == (True, False, True)


def test_a_move_keeps_the_age() -> None:
    queue = RoomQueue()
    first = queue.enter("session/n/1", "session/n/1", A)
    second = queue.enter(A, "session/n/2", A)
    queue.move(first, A)
    assert (queue.may_ask(first), queue.may_ask(second)) == (True, False)


def test_a_full_agent_holds_up_nobody_who_waits_with_its_sessions_for_a_budget() -> None:
    queue = RoomQueue()
    queue.enter(A, "session/n/1", A)
    first = queue.enter(TEAM, "session/n/2", A)
    second = queue.enter(TEAM, "session/n/3", B)
    assert (queue.may_ask(first), queue.may_ask(second)) == (True, False)


def test_room_in_its_own_bound_takes_a_session_past_nobody_who_waits_longer_for_the_agent() -> None:
    queue = RoomQueue()
    older = queue.enter(A, "session/n/1", A)
    younger = queue.enter("session/n/2", "session/n/2", A)
    elsewhere = queue.enter("session/n/3", "session/n/3", B)
    assert (queue.may_ask(older), queue.may_ask(younger), queue.may_ask(elsewhere)) == (True, False, True)
    queue.leave(older)
    assert queue.may_ask(younger)


async def test_when_a_session_ends_its_calls_have_their_turn_at_once_whoever_is_ahead() -> None:
    queue = RoomQueue()
    ahead = queue.enter(TEAM, "session/n/1", A)
    ended = [queue.enter(TEAM, "session/n/2", B), queue.enter(B, "session/n/2", B)]
    behind = queue.enter(TEAM, "session/n/3", B)
    turns = [asyncio.create_task(queue.turn(ticket, 20)) for ticket in (*ended, behind)]
    await asyncio.sleep(0)
    queue.session_ended("session/n/2")
    for _ in range(5):  # no time passes, and no other turn would come
        await asyncio.sleep(0)
    assert [turn.done() for turn in turns] == [True, True, False]
    assert queue.may_ask(ahead), "who was first still is"
    turns[-1].cancel()


async def test_a_call_whose_session_ended_before_it_could_queue_waits_for_nobody() -> None:
    """The ledger's answer to it was under way when the ledger's word of the session's end came."""
    queue = RoomQueue()
    queue.enter(TEAM, "session/n/1", A)
    queue.session_ended("session/n/2")
    late = queue.enter(TEAM, "session/n/2", B)
    turn = asyncio.create_task(queue.turn(late, 20))
    for _ in range(5):  # no time passes
        await asyncio.sleep(0)
    assert turn.done()


def served(queue: RoomQueue, tickets: list[Ticket]) -> list[str]:
    """In what order these have their turns."""
    order: list[str] = []
    while tickets:
        [ticket] = [one for one in tickets if queue.may_ask(one)]
        tickets.remove(ticket)
        order.append(ticket.session)
        queue.leave(ticket)
    return order


def test_a_session_that_asks_for_much_at_a_time_takes_turns_with_the_others() -> None:
    queue = RoomQueue()
    tickets = [queue.enter(TEAM, "session/n/greedy", A) for _ in range(4)]
    tickets += [queue.enter(TEAM, f"session/n/{number}", B) for number in (1, 2, 1)]
    greedy, one, two = "session/n/greedy", "session/n/1", "session/n/2"
    assert served(queue, tickets) == [greedy, one, two, greedy, one, greedy, greedy]


def test_whoever_comes_late_takes_no_turn_of_the_rounds_before() -> None:
    queue = RoomQueue()
    mine = [queue.enter(TEAM, "session/n/1", A) for _ in range(3)]
    for ticket in mine[:2]:
        queue.leave(ticket)
    late = [queue.enter(TEAM, "session/n/2", B) for _ in range(2)]
    assert served(queue, [mine[2], *late]) == ["session/n/2", "session/n/1", "session/n/2"]


def test_whoever_gives_up_far_behind_puts_nobody_back() -> None:
    queue = RoomQueue()
    mine = [queue.enter(TEAM, "session/n/1", A) for _ in range(3)]
    queue.leave(mine.pop())
    other = queue.enter(TEAM, "session/n/2", B)
    assert served(queue, [*mine, other]) == ["session/n/1", "session/n/2", "session/n/1"]


class Counting(RoomQueue):
    """Counts who is woken."""

    looks = 0

    def may_ask(self, ticket: Ticket) -> bool:
        self.looks += 1
        return super().may_ask(ticket)


async def test_what_is_freed_wakes_the_first_of_a_queue_alone() -> None:
    queue = Counting()
    tickets = [queue.enter(TEAM, f"session/n/{number}", A) for number in range(500)]
    turns = [asyncio.create_task(queue.turn(ticket, 20)) for ticket in tickets]
    await asyncio.sleep(0)
    for number, ticket in enumerate(tickets):
        queue.freed()
        await turns[number]
        queue.leave(ticket)
    assert queue.looks <= 2 * len(tickets)
    assert queue.waiting == 0


async def test_who_moves_is_not_woken_by_its_own_move() -> None:
    queue = RoomQueue()
    ticket = queue.enter(A, "session/n/1", A)
    queue.move(ticket, TEAM)
    turn = asyncio.create_task(queue.turn(ticket, 20))
    for _ in range(5):  # no time passes
        await asyncio.sleep(0)
    assert not turn.done()
    queue.freed()
    assert await turn
