"""A Budget's status from what policy judged, what the ledger holds, and what is used. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ambit.api.budget import Budget, BudgetStatus, ResourceName, ResourceUsage, Window, WindowUsage
from ambit.api.conditions import ConditionStatus, ConditionType, timestamp, with_condition
from ambit.api.quantities import format_count, format_duration_ms, format_usd_nanos
from ambit.control.accounts import SeenUsage
from ambit.control.enforcement import Enforcement
from ambit.ledger import wire
from ambit.ledger.amounts import Window as CountedWindow
from ambit.ledger.windows import window_at
from ambit.policy import BudgetVerdict, Denied
from ambit.telemetry.reasons import Progress

TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE


@dataclass(frozen=True)
class Snapshot:
    """Everything that a Budget's status is made from."""

    budget: Budget
    verdict: BudgetVerdict
    enforcement: Enforcement
    usage: SeenUsage | None
    """None: not known yet; the status keeps what it said."""


Said = tuple[ConditionType, ConditionStatus, str, str]


def status_of(s: Snapshot, now: datetime) -> BudgetStatus:
    """The status, written `now`."""
    before = s.budget.status
    limits = before.limits if s.usage is None else _windows(s.usage, s.budget.spec.time_zone)
    accepted, enforced, within = _accepted(s.verdict), _enforced(s), _within(s.usage.usage if s.usage else None, limits)
    conditions = before.conditions
    for kind, status, reason, message in (accepted, enforced, *within, _ready(accepted, enforced, within)):
        conditions = with_condition(
            conditions, kind, status, reason, message, generation=s.budget.metadata.generation, now=now
        )
    return before.model_copy(
        update={"observed_generation": s.budget.metadata.generation, "conditions": conditions, "limits": limits}
    )


def _accepted(verdict: BudgetVerdict) -> Said:
    if isinstance(verdict, Denied):
        problem = verdict.problems[0]
        return ConditionType.ACCEPTED, FALSE, problem.reason.value, problem.message
    return ConditionType.ACCEPTED, TRUE, Progress.ACCEPTED.value, ""


def _enforced(s: Snapshot) -> Said:
    status = TRUE if s.enforcement.holds else FALSE
    return ConditionType.ENFORCED, status, s.enforcement.reason.value, s.enforcement.message


def _within(usage: wire.Usage | None, limits: tuple[WindowUsage, ...]) -> tuple[Said, ...]:
    """Exhausted is what leaves no room until a window ends; a Minute's window never exhausts anything."""
    if usage is None:
        return ()
    spent_out = [limit for limit in usage.limits if limit.spent >= limit.limit and limit.window != Window.MINUTE.value]
    if not spent_out:
        return ((ConditionType.WITHIN_BUDGET, TRUE, Progress.WITHIN_BUDGET.value, ""),)
    ends = {window.window.value: window.end for window in limits}
    said = [_exhausted(limit, ends.get(limit.window.value)) for limit in spent_out]
    if usage.enforcement is wire.Enforcement.SHADOW:
        said.append("in Shadow: it refuses nothing")
    return ((ConditionType.WITHIN_BUDGET, FALSE, Progress.LIMIT_EXHAUSTED.value, "; ".join(said)),)


def _exhausted(limit: wire.LimitUsage, end: str | None) -> str:
    resource = ResourceName(limit.resource.value)
    used = f"{limit.resource} per {limit.window}: {_format(resource, limit.spent)} of {_format(resource, limit.limit)}"
    return f"{used} spent, room again at {end}" if end else f"{used} spent"


def _ready(accepted: Said, enforced: Said, within: tuple[Said, ...]) -> Said:
    """In force, and, for the Reason that `kubectl get` shows, whether anything is left."""
    for said in (accepted, enforced):
        if said[1] is FALSE:
            return ConditionType.READY, FALSE, said[2], said[3]
    for said in within:
        if said[1] is FALSE:
            return ConditionType.READY, TRUE, said[2], said[3]
    return ConditionType.READY, TRUE, Progress.READY.value, ""


# -- usage --------------------------------------------------------------------


def _windows(seen: SeenUsage, time_zone: str) -> tuple[WindowUsage, ...]:
    """One entry a window, in the order of the spec's limits as the ledger has them."""
    windows: dict[Window, list[wire.LimitUsage]] = {}
    for limit in seen.usage.limits:
        windows.setdefault(Window(limit.window.value), []).append(limit)
    return tuple(_window(window, limits, time_zone, seen.at) for window, limits in windows.items())


def _window(window: Window, limits: list[wire.LimitUsage], time_zone: str, at: datetime) -> WindowUsage:
    entry = WindowUsage(window=window, usage=tuple(_resource(limit) for limit in limits))
    resets_in_ms = limits[0].resets_in_ms
    if window is Window.MINUTE or resets_in_ms is None:
        # A Minute's bounds would be out of date as soon as they are written.
        return entry
    start, end = window_bounds(window, at, resets_in_ms, time_zone)
    if limits[0].began_ms_ago is not None:
        # After a change of the zone the window that runs is still measured in the one before, and the next is a longer
        # one: the ledger alone knows. (One of the release before does not say.)
        start = end - timedelta(milliseconds=limits[0].began_ms_ago + resets_in_ms)
    return entry.model_copy(update={"start": timestamp(start), "end": timestamp(end)})


def window_bounds(window: Window, at: datetime, resets_in_ms: int, time_zone: str) -> tuple[datetime, datetime]:
    """The running window, from how long it still lasts by the ledger's clock.

    The answer travels for some milliseconds; windows end at whole minutes, so the nearest one is meant.
    """
    rough = at + timedelta(milliseconds=resets_in_ms) + timedelta(seconds=30)
    end = rough.astimezone(UTC).replace(second=0, microsecond=0)
    span = window_at(CountedWindow(window.value), time_zone, int(end.timestamp() * 1000) - 1)
    return datetime.fromtimestamp(span.start_ms / 1000, UTC), end


def _resource(limit: wire.LimitUsage) -> ResourceUsage:
    resource = ResourceName(limit.resource.value)
    return ResourceUsage(
        resource=resource,
        limit=_format(resource, limit.limit),
        spent=_format(resource, limit.spent),
        held=_format(resource, limit.held),
        remaining=_format(resource, max(limit.limit - limit.spent - limit.held, 0)),
    )


def _format(resource: ResourceName, amount: int) -> str:
    match resource:
        case ResourceName.USD:
            return format_usd_nanos(amount)
        case ResourceName.RUNTIME:
            return format_duration_ms(amount)
        case ResourceName.TOKENS | ResourceName.INPUT_TOKENS | ResourceName.OUTPUT_TOKENS | ResourceName.MODEL_CALLS:
            return format_count(amount)
