"""What has to be so when the demo is over, each judged from what was seen."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ambit.api.budget import ResourceName
from ambit.api.quantities import format_usd_nanos
from ambit.telemetry.reasons import SessionEnd
from e2e.demo.sessions import Session
from e2e.demo.standings import Standing

TEAM = "team"
ORGANISATION = "organisation"
ENVIRONMENTS = {"researcher": "isolate", "coder": "container"}
"""The quickstart's Agents, and where each runs."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen of one run. `samples`: the Budgets' standings at moments during the run, in order."""

    namespace: str
    sessions: tuple[Session, ...]
    samples: tuple[tuple[Standing, ...], ...]
    final: tuple[Standing, ...]
    running_pods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One statement, and whether it held. `detail` says by how much, or what was seen instead."""

    statement: str
    held: bool
    detail: str


def judge(seen: Seen) -> tuple[Check, ...]:
    """Every check, whatever the others say."""
    sessions = {session.agent: session for session in seen.sessions}
    return tuple(
        check
        for checks in (_of_sessions(seen, sessions), _of_budgets(seen), _of_what_is_left(seen, sessions))
        for check in checks
    )


def _of_sessions(seen: Seen, sessions: dict[str, Session]) -> Iterator[Check]:
    for agent, environment in ENVIRONMENTS.items():
        session = sessions.get(agent)
        if session is None:
            yield Check(f"{agent} ran", held=False, detail="it has no session")
            continue
        yield Check(f"{agent} ran as its Agent says", session.environment == environment, session.environment)
        calls = session.usage.model_calls
        yield Check(f"{agent} did work", calls > 0, f"{calls} model calls, {session.usage.tokens} tokens")
        yield _saw_its_402(seen, session)
    if (coder := sessions.get("coder")) is not None:
        committed = coder.output.count(": committed ")
        yield Check("coder committed to its repository", committed > 0, f"{committed} commits")
        ended = coder.reason == SessionEnd.RUNTIME_EXHAUSTED
        yield Check("coder's container was ended by its runtime bound", ended, _why_it_ended(coder))
    if (researcher := sessions.get("researcher")) is not None:
        ended = researcher.reason == SessionEnd.COMPLETED
        yield Check("researcher answered and ended by itself", ended, _why_it_ended(researcher))


def _why_it_ended(session: Session) -> str:
    return f"{session.reason} {session.message}".strip()


def _saw_its_402(seen: Seen, session: Session) -> Check:
    statement = f"{session.agent} saw its 402 with account, limit, spent and reset"
    account = f"budget/{seen.namespace}/{TEAM}"
    for refusal in session.refusals:
        if refusal.status == 402:
            said = f"{refusal.account}: {refusal.spent} of {refusal.limit} spent, resets at {refusal.resets_at}"
            return Check(statement, refusal.is_complete and refusal.account == account, said)
    return Check(statement, held=False, detail=f"its output ends with {session.output[-200:]!r}")


def _of_budgets(seen: Seen) -> Iterator[Check]:
    for budget in (TEAM, ORGANISATION):
        moments = [
            standing for sample in (*seen.samples, seen.final) for standing in sample if standing.budget == budget
        ]
        broken = [standing for standing in moments if not standing.holds]
        final = _usd(seen.final, budget)
        if not moments or final is None:
            yield Check(f"spent + held ≤ limit held for {budget}", held=False, detail="its status says nothing")
            continue
        now = f"{_dollars(final.spent)} + {_dollars(final.held)} ≤ {_dollars(final.limit)}"
        detail = f"broken: {broken[0]}" if broken else f"{now}, and at {len(moments)} readings"
        yield Check(f"spent + held ≤ limit held for {budget}", not broken, detail)
    yield _adds_up(seen)


def _adds_up(seen: Seen) -> Check:
    statement = "what the sessions spent is what their Budgets were charged"
    by_sessions = sum(session.usage.usd_nanos for session in seen.sessions)
    charged = {
        budget: final.spent for budget in (TEAM, ORGANISATION) if (final := _usd(seen.final, budget)) is not None
    }
    said = ", ".join(f"{_dollars(nanos)} by {budget}" for budget, nanos in charged.items())
    if _began_anew(seen, TEAM):  # midnight came; what the team spent before is no longer in its Day
        charged.pop(TEAM, None)
    right = ORGANISATION in charged and set(charged.values()) == {by_sessions}
    return Check(statement, right, f"{_dollars(by_sessions)} by sessions, {said}")


def _began_anew(seen: Seen, budget: str) -> bool:
    """Whether the Budget's window ended during the run and the next one began at zero."""
    readings = [
        standing.spent for sample in (*seen.samples, seen.final) if (standing := _usd(sample, budget)) is not None
    ]
    return any(later < earlier for earlier, later in itertools.pairwise(readings))


def _of_what_is_left(seen: Seen, sessions: dict[str, Session]) -> Iterator[Check]:
    held = [f"{standing.budget}/{standing.resource}" for standing in seen.final if standing.held]
    yield Check("nothing is held any more", not held, ", ".join(held) or "no hold is open")
    left = [pod for pod in seen.running_pods if any(session.id in pod for session in sessions.values())]
    yield Check("no session left anything running", not left, ", ".join(left) or "no Pod of a session runs")


def _usd(standings: Sequence[Standing], budget: str) -> Standing | None:
    return next((each for each in standings if each.budget == budget and each.resource is ResourceName.USD), None)


def _dollars(nanos: int) -> str:
    return f"${format_usd_nanos(nanos)}"
