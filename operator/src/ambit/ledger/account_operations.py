"""Putting and removing the accounts of Budgets and Agents. The operator's alone."""

import re

from ambit.ledger import changes, wire
from ambit.ledger.accounts import Account
from ambit.ledger.amounts import Limit
from ambit.ledger.step import Step
from ambit.ledger.windows import is_zone
from ambit.telemetry.reasons import SessionEnd

OPERATOR = "operator"
MAX_DEPTH = 32
"""Of accounts above one another: what one hold costs grows with it."""
_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_PATH = re.compile(rf"(?P<kind>budget|agent|session)/{_NAME}/{_NAME}")
_PARENT_KINDS = {"budget": ("budget",), "agent": ("budget",), "session": ("agent", "budget")}


def kind_of(path: str) -> str | None:
    """`budget`, `agent`, `session`, or None where `path` is no account path."""
    match = _PATH.fullmatch(path)
    return None if match is None else match["kind"]


def misplaced(path: str, parent: str | None) -> wire.Invalid | None:
    """What is wrong with `path` as an account under `parent`."""
    kind = kind_of(path)
    if kind is None:
        return wire.Invalid(f"{path!r} is no account path: write <budget|agent|session>/<namespace>/<name>")
    if parent is None:
        return None if kind == "budget" else wire.Invalid(f"{path} has no parent: only a Budget can do without")
    if kind_of(parent) not in _PARENT_KINDS[kind]:
        return wire.Invalid(f"{parent} cannot be the parent of {path}: write {' or '.join(_PARENT_KINDS[kind])}/…")
    return None


def repeated_limit(limits: tuple[Limit, ...]) -> wire.Invalid | None:
    """Two limits for the same thing, of which one would be silently ignored."""
    seen = {(limit.window, limit.resource) for limit in limits}
    if len(seen) == len(limits):
        return None
    return wire.Invalid("a window limits a resource twice: write one limit for each window and resource")


def put(step: Step, op: wire.PutAccount) -> wire.AccountPut | wire.ErrorResult:
    """Makes an account, or sets its limits and zone; what it has spent stays."""
    refused = _only_operator(step) or misplaced(op.path, op.parent) or repeated_limit(op.limits)
    if refused is not None:
        return refused
    if kind_of(op.path) == "session":
        return wire.Invalid(f"{op.path} is a session: open it")
    if not is_zone(op.time_zone):
        return wire.Invalid(f"{op.time_zone!r} is no time zone: write an IANA name, for example Europe/Berlin")
    account = step.state.accounts.get(op.path)
    parent = None if op.parent is None else step.state.accounts.get(op.parent)
    if op.parent is not None and parent is None:
        return wire.UnknownAccount(op.parent)
    moved = account is not None and account.parent is not parent
    if account is not None and moved and not account.removed:
        kept = "none" if account.parent is None else account.parent.path
        return wire.Invalid(f"the parent of {op.path} is {kept} and cannot change while it lives: remove it first")
    above = () if parent is None else parent.chain()
    if account is not None and account in above:
        return wire.Invalid(f"{op.parent} is under {op.path}: a cycle of parents bounds nothing")
    if len(above) >= MAX_DEPTH:
        return wire.Invalid(f"{op.path} would be {len(above) + 1} accounts deep: at most {MAX_DEPTH}")
    if account is None or account.removed or (account.limits, account.zone) != (op.limits, op.time_zone):
        step.record(changes.AccountChanged(step.now_ms, op.path, op.parent, op.limits, op.time_zone))
    return wire.AccountPut()


def remove(step: Step, op: wire.RemoveAccount) -> wire.AccountRemoved | wire.ErrorResult:
    """Makes an account a tombstone and kills the sessions under it. Of one that never was: nothing to do."""
    refused = _only_operator(step)
    if refused is not None:
        return refused
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.AccountRemoved()
    if account.session is not None:
        return wire.Invalid(f"{op.path} is a session: close or kill it")
    if not account.removed:
        step.record(changes.AccountGone(step.now_ms, op.path))
    end_sessions(step, account, SessionEnd.ACCOUNT_REMOVED, f"{op.path} was removed")
    return wire.AccountRemoved()


def end_sessions(step: Step, account: Account, reason: SessionEnd, message: str) -> None:
    """Cuts every open session at and under an account."""
    for each in list(account.sessions()):
        if each.session is not None and each.session.ending is None:
            step.record(changes.SessionOver(step.now_ms, each.path, reason, message, cut=True))


def _only_operator(step: Step) -> wire.Forbidden | None:
    if step.component == OPERATOR:
        return None
    return wire.Forbidden(f"{step.component} may not put or remove accounts: only the {OPERATOR} may")
