"""The names of accounts, and which may stand under which."""

import re
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from ambit.ledger import wire

_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_PATH = re.compile(rf"(?P<kind>budget|agent|session)/{_NAME}/{_NAME}|(?P<user>user)/{_NAME}/{_NAME}/[^/]+")
_PARENT_KINDS = {"budget": ("budget",), "agent": ("budget",), "session": ("agent", "budget", "session")}
LONGEST_USER = 200
"""Of a user's name as it stands in a path; a longer one is told by its hash."""


@lru_cache(maxsize=4096)  # an operation asks for the same few again and again
def kind_of(path: str) -> str | None:
    """`budget`, `agent`, `user`, `session`, or None where `path` is no account path."""
    match = _PATH.fullmatch(path)
    return None if match is None else match["kind"] or match["user"]


def misplaced(path: str, parent: str | None) -> wire.Invalid | None:
    """What is wrong with `path` as an account under `parent`."""
    kind = kind_of(path)
    if kind is None:
        return wire.Invalid(f"{path!r} is no account path: write <budget|agent|session>/<namespace>/<name>")
    if parent is None:
        return None if kind == "budget" else wire.Invalid(f"{path} has no parent: only a Budget can do without")
    allowed = _PARENT_KINDS.get(kind, ())
    if kind_of(parent) not in allowed:
        return wire.Invalid(f"{parent} cannot be the parent of {path}: write {' or '.join(allowed) or 'another'}/…")
    return None


def user_path(agent: str, user: str) -> str:
    """The account of a user of an Agent."""
    _, namespace, name = agent.split("/")
    quoted = quote(user, safe="")
    if len(quoted) > LONGEST_USER:
        quoted = f"sha256-{sha256(user.encode()).hexdigest()}"
    return f"user/{namespace}/{name}/{quoted}"
