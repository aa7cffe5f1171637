"""What a wire format offers: read a call, rewrite it within its bounds, meter the answer, refuse, cut.

Nothing here does I/O or knows a clock. A new format is one module that offers `WireFormat`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from ambit.api.model_route import Provider
from ambit.api.names import REASON_HEADER
from ambit.gateway.prefixes import Prompt
from ambit.gateway.server.http import Headers, Request, Response
from ambit.telemetry import documentation
from ambit.telemetry.reasons import Refusal
from ambit.telemetry.tracing import Attribute

SMALLEST_USEFUL_OUTPUT_TOKENS: Final = 1024
"""A clamp never goes below this, or below what was asked for if that is less: a row of tiny answers helps nobody."""
TOKENS_PER_MESSAGE: Final = 16
"""What a chat template puts around a message, or a tool, at most."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What a provider says that a call used; the counts never overlap."""

    input: int
    """Input tokens neither read from nor written to the provider's cache."""
    cache_read: int
    cache_write: int
    output: int
    cache_write_1h: int = 0
    """Written to the cache for an hour, which has a price of its own."""

    @property
    def total(self) -> int:
        """What counts against a limit of tokens: all input, cached too, and output."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.output


MOST_TOKENS: Final = 2**36
"""No call uses so many. A provider that says so is not believed, and no ledger could count what it would cost."""


def believed(usage: TokenUsage | None) -> TokenUsage | None:
    """The usage that a provider reported; None, which is unknown, where it cannot be true."""
    return usage if usage is not None and usage.total <= MOST_TOKENS else None


class Billing(StrEnum):
    """What of a call its provider bills."""

    INPUT_AND_OUTPUT = "InputAndOutput"
    INPUT = "Input"
    """Nothing is written: embeddings."""
    NOTHING = "Nothing"
    """Free of charge, but a call all the same: counting tokens."""


@dataclass(frozen=True, slots=True)
class Call:
    """A model call as its client wrote it, judged and ready to be rewritten."""

    model: str
    """The client's name for the model."""
    stream: bool
    prompt_tokens_bound: int | None
    """No byte-level tokenizer makes more of the prompt, the server's own template aside; None where the prompt is not
    all in the request (stored state, files, images): then it is whatever fits into the model's context."""
    choices: int
    """How many answers are asked for; each costs its own output."""
    asked_output_tokens: int | None
    """For each choice; None where the client leaves it open."""
    floor_output_tokens: int
    """Below this the provider's own rules are broken (0 where there is none)."""
    wants_usage: bool
    """Whether the client itself asked for usage in the stream."""
    fields: Mapping[str, Any]
    """The body, decoded; what is forwarded is made from this, so that what was judged is what is sent."""
    billing: Billing = Billing.INPUT_AND_OUTPUT
    prompts: int = 1
    """How many prompts the call holds, each of which may fill the model's context."""
    one_hour_cache: str | None = None
    """The field that asks for cache writes of an hour."""
    hides_output: bool = True
    """Whether the model may write what is billed and not shown (reasoning), where the route does not say otherwise."""
    prompt: Callable[[], Prompt] | None = None
    """The prompt in its parts, where all of it is in the request, message by message."""


@dataclass(frozen=True, slots=True)
class BoundDetails:
    """Which bound stands in the way, and by how much; amounts in the API's units."""

    bound: str
    """Resource and window: `usd per Day`."""
    account: str
    limit: str
    spent: str
    requested: str
    resets_at: str | None
    """RFC 3339; None for a bound that never resets."""


@dataclass(eq=False)
class RefusedCall(Exception):
    """A call that is not served, before it is given a provider's shape."""

    status: int
    reason: Refusal
    message: str
    retry_after_s: int | None = None
    """Set where trying again makes sense; None: final, and clients are told not to."""
    field: str | None = None
    """The field of the request that is to blame."""
    details: BoundDetails | None = None

    def __str__(self) -> str:
        return self.message

    def span_attributes(self) -> Mapping[Attribute, str]:
        """What a span tells of it: the reason and the bound, and not the message."""
        told = {Attribute.ERROR_TYPE: self.reason.value, Attribute.REFUSAL_REASON: self.reason.value}
        if self.details is not None:
            told |= {Attribute.BOUND: self.details.bound, Attribute.BOUND_ACCOUNT: self.details.account}
        return told


class Meter(Protocol):
    """Follows one answer: counts, and passes its bytes on."""

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the answer; returns what is to be passed on now."""
        ...

    def end(self) -> bytes:
        """The answer has ended; returns what was still kept back."""
        ...

    def cut(self) -> bytes | None:
        """What ends the stream here, in the provider's own words for `length`; None where it has no early end.

        What `feed` kept back is dropped: the client has whole events only.
        """
        ...

    @property
    def usage(self) -> TokenUsage | None:
        """What the call used in all; None as long as the provider has not said so for good."""
        ...

    @property
    def output_bound(self) -> int | None:
        """At most so many output tokens, of all choices, stand behind what has come so far; None where that cannot be
        told: the answer is no stream, or cannot be read."""
        ...


class WireFormat(Protocol):
    """One provider's wire format."""

    provider: Provider

    def serves(self, path: str) -> bool:
        """Whether this is the provider's own path (without the surface's prefix) of a call."""
        ...

    def parse(self, request: Request) -> Call:
        """Raises RefusedCall for what is malformed, ambiguous, or cannot be bounded."""
        ...

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        """The body to send: the backend's model, `output_tokens` for each choice, usage asked for."""
        ...

    def target(self, request: Request, model: str) -> str:
        """The path and query at the provider, for its own name of the model."""
        ...

    def credential(self, key: str) -> Headers:
        """How the provider takes its key."""
        ...

    def meter(self, call: Call, event_stream: bool) -> Meter:
        """A meter for an answer: a stream of events, or one JSON document."""
        ...


class Surface(Protocol):
    """What the wire formats of one provider have in common: where they begin, and the shape of what is not a call."""

    provider: Provider
    prefix: str
    """Where the provider's paths begin among the gateway's: `/openai`."""
    models_paths: tuple[str, ...]
    """The provider's own paths of the listing of models; one model stands below each."""
    formats: tuple[WireFormat, ...]

    def refuse(self, refusal: RefusedCall) -> Response:
        """The refusal as the provider's SDKs expect an error."""
        ...

    def model_list(self, names: tuple[str, ...]) -> bytes:
        """The answer to a listing of models."""
        ...

    def model(self, name: str) -> bytes:
        """The answer to a question for one model."""
        ...

    def why_not(self, path: str) -> str | None:
        """Why the provider has this path (without the prefix) and the gateway does not; None where there is no more to
        say than that."""
        ...


def refusal_headers(refusal: RefusedCall) -> Headers:
    """The headers of every refusal, whatever its shape."""
    headers: Headers = (
        (b"content-type", b"application/json"),
        (REASON_HEADER.encode(), refusal.reason.value.encode("ascii")),
    )
    if refusal.retry_after_s is None:
        return (*headers, (b"x-should-retry", b"false"))
    return (*headers, (b"retry-after", b"%d" % refusal.retry_after_s))


def refusal_fields(refusal: RefusedCall) -> dict[str, str | None]:
    """What every refusal says in its body, beside the provider's own fields."""
    details = refusal.details
    return {
        "reason": refusal.reason.value,
        "bound": details.bound if details else None,
        "account": details.account if details else None,
        "limit": details.limit if details else None,
        "spent": details.spent if details else None,
        "requested": details.requested if details else None,
        "resetsAt": details.resets_at if details else None,
        "docs": documentation.of_refusal(refusal.reason.value),
    }
