"""When a ledger leaves a partition to others: only its own, only where others may do better, and not for a moment."""

import pytest

from ambit.ledger.partitions.trouble import GIVE_UP_S, LEFT_S, STEADY_S, Trouble


class Looks:
    """Looks at one partition, a fifth of a second apart."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.now_s = 1000.0

    def gives_up(
        self, for_s: float, *, answers: bool = False, is_mine: bool = True, tried: bool = True, others: bool = True
    ) -> bool:
        """Whether it gives up within so long, looked at as said."""
        ends_s = self.now_s + for_s
        while self.now_s < ends_s:
            self.now_s += 0.2
            if self.trouble.look(is_mine=is_mine, answers=answers, tried=tried, others=others, now_s=self.now_s):
                return True
        return False


def test_what_it_cannot_write_it_leaves_to_the_others_for_a_while() -> None:
    looks = Looks()
    assert not looks.gives_up(GIVE_UP_S - 0.5)
    assert looks.gives_up(1.0)
    assert looks.trouble.is_left(looks.now_s)
    assert not looks.trouble.is_left(looks.now_s + LEFT_S)


@pytest.mark.parametrize("but", [{"is_mine": False}, {"tried": False}, {"others": False}, {"answers": True}])
def test_it_keeps_what_is_written_well_what_nobody_else_can_and_what_it_waits_for(but: dict[str, bool]) -> None:
    looks = Looks()
    assert not looks.gives_up(10 * GIVE_UP_S, **but)
    assert not looks.trouble.is_left(looks.now_s)


def test_answering_for_a_moment_is_no_answer() -> None:
    looks = Looks()
    assert not looks.gives_up(GIVE_UP_S / 2)
    assert not looks.gives_up(1.0, answers=True)
    assert looks.gives_up(GIVE_UP_S)


def test_one_that_was_fenced_waits_for_the_other_to_hand_over_for_as_long_as_it_takes() -> None:
    looks = Looks()
    assert not looks.gives_up(GIVE_UP_S / 2)
    assert not looks.gives_up(GIVE_UP_S, tried=False)
    assert not looks.gives_up(GIVE_UP_S - 0.5)


def test_what_was_long_ago_counts_no_more() -> None:
    looks = Looks()
    assert not looks.gives_up(GIVE_UP_S / 2)
    assert not looks.gives_up(STEADY_S + 1.0, answers=True)
    assert not looks.gives_up(GIVE_UP_S - 0.5)


def test_a_store_that_was_away_is_nobodys_fault() -> None:
    looks = Looks()
    assert not looks.gives_up(GIVE_UP_S - 0.5)
    looks.trouble.forget()
    assert not looks.gives_up(GIVE_UP_S - 0.5)
