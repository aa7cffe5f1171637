"""All pages of a list of sessions, for whoever asks the ledger."""

from collections.abc import Awaitable, Callable

import msgspec

from ambit.ledger import wire


async def all_pages(
    ask: Callable[[wire.ListSessions], Awaitable[wire.AnyResult]], op: wire.ListSessions
) -> wire.AnyResult:
    """One answer of all pages, each asked for by itself; the first that is no page, where one is.

    A session may have left meanwhile, or have been looked at twice: it is there once, as it was last seen.
    """
    found: dict[str, wire.Usage] = {}
    page = msgspec.structs.replace(op, at_most=wire.MAX_PAGE)
    while True:
        answer = await ask(page)
        if not isinstance(answer, wire.Sessions):
            return answer
        found.update((each.path, each) for each in answer.sessions)
        if answer.next is None:
            return wire.Sessions(tuple(found.values()))
        page = msgspec.structs.replace(page, after=answer.next)
