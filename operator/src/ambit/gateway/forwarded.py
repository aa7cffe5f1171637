"""What a backend is sent: the client's request in its wire format, with the backend's address, model and key. Pure."""

from typing import Final

from ambit.gateway.models.wire_format import Call, WireFormat
from ambit.gateway.server.http import HOP_BY_HOP, Headers, Request, named_in_connection, request_head
from ambit.gateway.server.upstream import Origin
from ambit.policy import RouteBinding
from ambit.telemetry import tracing

NOT_FORWARDED: Final = HOP_BY_HOP | {
    *(b"host", b"content-length", b"expect", b"accept-encoding", b"cookie", b"forwarded", b"via"),
    *(b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"),
    # They choose who is billed, or what is done; the route's key and the wire format say that.
    *(b"openai-organization", b"openai-project", b"x-goog-user-project", b"x-http-method-override"),
}
_NOT_FORWARDED_PREFIXES: Final = (b"x-ambit-", b"x-forwarded-", b"proxy-")


def forwarded(
    wire: WireFormat, request: Request, call: Call, route: RouteBinding, key: str | None, output_tokens: int
) -> bytes:
    """The whole request; each choice may have so many output tokens."""
    body = wire.rewrite(call, route.model, output_tokens)
    origin = Origin.of(route.url)
    base_path = route.url.split("://", 1)[1].partition("/")[2]
    target = wire.target(request, route.model)
    if base_path:
        target = f"/{base_path}{target}"
    trace = tracing.outgoing()
    headers: Headers = (
        (b"host", origin.authority.encode("idna" if not origin.authority.isascii() else "ascii")),
        *forwarded_headers(request.headers, tracing.CONTEXT_HEADERS if trace else frozenset()),
        *trace,
        (b"accept-encoding", b"identity"),
        (b"content-length", b"%d" % len(body)),
        *(wire.credential(key) if key is not None else ()),
    )
    return request_head("POST", target, headers) + body


def forwarded_headers(headers: Headers, replaced: frozenset[bytes] = frozenset()) -> Headers:
    """The client's headers without those that are its own credentials, concern one connection, or are ours to set."""
    drop = NOT_FORWARDED | named_in_connection(headers) | replaced
    return tuple(
        (name, value) for name, value in headers if name not in drop and not name.startswith(_NOT_FORWARDED_PREFIXES)
    )
