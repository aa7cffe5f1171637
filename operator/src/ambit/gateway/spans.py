"""What the spans of a model call say. Nothing is worked out where nobody records it.

Names, numbers and reasons alone: never a word of a message, an answer or an error, and never a credential.
"""

from typing import Final

from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import Billing, Call
from ambit.gateway.relay import Ending, Relayed
from ambit.gateway.server.upstream import Origin
from ambit.ledger.amounts import Amount
from ambit.policy import RouteBinding
from ambit.telemetry.tracing import Attribute, Span

_OPERATIONS: Final = {Billing.INPUT_AND_OUTPUT: "chat", Billing.INPUT: "embeddings", Billing.NOTHING: "count_tokens"}
"""`gen_ai.operation.name`; the last is a name of our own, where the conventions have none."""
_GEMINI: Final = "gcp.gemini"
_PROVIDERS: Final = {"Gemini": _GEMINI}
"""`gen_ai.provider.name`, where the conventions name the provider otherwise than its wire format in lower case."""


def of_session(span: Span, session: Session) -> None:
    """Whose call it is."""
    if not span.recording:
        return
    span.set(Attribute.SESSION, session.path)
    if session.agent is not None:
        span.set(Attribute.AGENT, str(session.agent))


def of_call(span: Span, call: Call, route: RouteBinding) -> None:
    """What is asked for, once it is known that the Agent may. What a stranger wrote is no span's name before that."""
    if not span.recording:
        return
    provider = _PROVIDERS.get(route.provider.value, route.provider.value.lower())
    operation = _OPERATIONS[call.billing]
    if operation == "chat" and provider == _GEMINI:
        operation = "generate_content"
    span.rename(f"{operation} {call.model}")
    span.set(Attribute.OPERATION, operation)
    span.set(Attribute.PROVIDER, provider)
    span.set(Attribute.REQUEST_MODEL, call.model)
    span.set(Attribute.RESPONSE_MODEL, route.model)
    span.set(Attribute.REQUEST_STREAM, call.stream)
    span.set(Attribute.REQUEST_CHOICES, call.choices if call.choices != 1 else None)
    span.set(Attribute.ROUTE, str(route.route))
    span.set(Attribute.BACKEND, route.backend)
    _of_server(span, Origin.of(route.url))


def of_exchange(span: Span, route: RouteBinding, relayed: Relayed) -> None:
    """What came of the exchange with the provider."""
    if not span.recording:
        return
    span.set(Attribute.HTTP_METHOD, "POST")
    span.set(Attribute.HTTP_STATUS, relayed.status)
    span.set(Attribute.ENDING, relayed.ending.value)
    span.set(Attribute.BACKEND, route.backend)
    _of_server(span, Origin.of(route.url))
    _failed(span, relayed)


def of_result(span: Span, call: Call, relayed: Relayed, charged: Amount, attempts: int) -> None:
    """What the call used and costs."""
    if not span.recording:
        return
    span.set(Attribute.ATTEMPT, attempts)
    usage = relayed.usage
    span.set(Attribute.ENDING, relayed.ending.value)
    span.set(Attribute.COST, charged.usd_nanos)
    span.set(Attribute.USAGE_KNOWN, usage is not None)
    if call.stream:
        span.set(Attribute.TIME_TO_FIRST_CHUNK, relayed.first_chunk_s)
    if usage is not None:
        span.set(Attribute.INPUT_TOKENS, usage.total - usage.output)
        span.set(Attribute.CACHE_READ_TOKENS, usage.cache_read)
        span.set(Attribute.CACHE_WRITE_TOKENS, usage.cache_write)
        span.set(Attribute.OUTPUT_TOKENS, usage.output)
    _failed(span, relayed)


def _of_server(span: Span, origin: Origin) -> None:
    span.set(Attribute.SERVER_ADDRESS, origin.host)
    span.set(Attribute.SERVER_PORT, origin.port)


def _failed(span: Span, relayed: Relayed) -> None:
    if relayed.status is not None and relayed.status >= 400:
        span.fail(str(relayed.status))
    elif relayed.ending is not Ending.COMPLETED:
        span.fail(relayed.ending.value)
