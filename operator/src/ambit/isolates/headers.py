"""What both of the supervisor's proxies need of HTTP."""

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that concern one connection and are never passed on (RFC 9110, 7.6.1)."""
SAYS_WHO_ASKS = frozenset({"authorization", "x-api-key"})
"""With every `x-ambit-…`: what an agent may not say of itself."""

TRACE_CONTEXT = ("traceparent", "tracestate")


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers to pass on."""
    named = {name.strip().lower() for value in headers.getall("connection", []) for name in value.split(",")}
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP and name.lower() not in named
    )


def from_agent(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers of an agent's request to pass on: none that says who it is."""
    return CIMultiDict(
        (name, value)
        for name, value in end_to_end(headers).items()
        if name.lower() not in SAYS_WHO_ASKS and not name.lower().startswith("x-ambit-")
    )


def trace_context(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """The headers that say what trace a request is part of."""
    return {name: headers[name] for name in TRACE_CONTEXT if name in headers}


def break_off(request: web.Request) -> None:
    """Ends the connection without the answer's proper end, so that nobody takes what has come for all of it."""
    if request.transport is not None:
        request.transport.abort()
