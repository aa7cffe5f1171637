"""What happened, for people: nothing is cut off, and a terminal of 80 columns shows it in whole lines."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from rich.table import Table

from ambit.api.quantities import format_duration_ms, format_usd_nanos
from e2e.demo.checks import Check
from e2e.demo.sessions import Session

CONTAINER: Final = "container"


def session_table(sessions: Sequence[Session]) -> Table:
    """One column for each session: there are few, and there is much to say of each."""
    table = Table(box=None, show_header=False)
    for _ in range(1 + len(sessions)):
        table.add_column(no_wrap=True)
    for fact in _FACTS:
        table.add_row(fact, *(_FACTS[fact](session) for session in sessions))
    return table


def check_lines(checks: Iterable[Check]) -> Iterator[str]:
    """Each check, and below it what was seen."""
    for check in checks:
        yield f"{'✓' if check.held else '✗'} {check.statement}"
        yield f"    {check.detail}"


def _started(session: Session) -> str:
    return f"{session.start_ms} ms" if session.environment == CONTAINER and session.start_ms is not None else "-"


def _answered(session: Session) -> str:
    return f"{session.start_ms} ms" if session.environment != CONTAINER and session.start_ms is not None else "-"


_FACTS: Final[Mapping[str, Callable[[Session], str]]] = {
    "agent": lambda session: session.agent,
    "session": lambda session: session.id,
    "environment": lambda session: session.environment,
    "container ran after": _started,
    "first answer after": _answered,
    "ran for": lambda session: format_duration_ms(session.usage.runtime_ms // 1000 * 1000),
    "model calls": lambda session: str(session.usage.model_calls),
    "tokens": lambda session: str(session.usage.tokens),
    "money": lambda session: f"${format_usd_nanos(session.usage.usd_nanos)}",
    "why it ended": lambda session: session.reason,
}


def next_commands(namespace: str) -> tuple[str, ...]:
    """Three commands to try next, in a shell that has KUBECONFIG and PATH set."""
    return (
        f"ambit sessions -a {namespace}",
        f'ambit run {namespace}/researcher "What is a truss?"  # 402: the Budget is exhausted until midnight UTC',
        f"kubectl describe budget team --namespace {namespace}",
    )
