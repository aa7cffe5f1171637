"""What happened, as tables for people."""

from collections.abc import Iterable

from rich.table import Table

from ambit.api.quantities import format_duration_ms, format_usd_nanos
from e2e.demo.checks import Check
from e2e.demo.sessions import Session


def session_table(sessions: Iterable[Session]) -> Table:
    """One line for each session."""
    table = _table(
        "agent", "session", "environment", "started in", "ran for", "calls", "tokens", "money", "why it ended"
    )
    for session in sessions:
        table.add_row(
            session.agent,
            session.id,
            session.environment,
            "?" if session.start_ms is None else f"{session.start_ms} ms",
            format_duration_ms(session.usage.runtime_ms // 1000 * 1000),
            str(session.usage.model_calls),
            str(session.usage.tokens),
            f"${format_usd_nanos(session.usage.usd_nanos)}",
            session.reason,
        )
    return table


def check_table(checks: Iterable[Check]) -> Table:
    """One line for each check."""
    table = _table("", "what has to be so", "what was seen")
    for check in checks:
        table.add_row("✓" if check.held else "✗", check.statement, check.detail)
    return table


def _table(*headings: str) -> Table:
    """Whole words and figures, however narrow the terminal is."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def next_commands(namespace: str) -> tuple[str, ...]:
    """Three commands to try next, in a shell that has KUBECONFIG and PATH set."""
    return (
        f"ambit sessions -a {namespace}",
        f'ambit run {namespace}/researcher "What is a truss?"  # 402: the Budget is exhausted until midnight UTC',
        f"kubectl describe budget team --namespace {namespace}",
    )
