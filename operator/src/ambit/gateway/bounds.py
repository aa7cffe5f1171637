"""What a call may cost before it is sent, and did cost after it. Pure: integers in, amounts out."""

from dataclasses import dataclass, replace

import msgspec

from ambit.api.model_route import OnDisconnect, Reasoning
from ambit.gateway.models.strict_json import not_bounded
from ambit.gateway.models.wire_format import SMALLEST_USEFUL_OUTPUT_TOKENS, Billing, Call, TokenUsage
from ambit.ledger.amounts import Amount
from ambit.policy import RouteBinding
from ambit.policy.price import cost_nanos, worst_cost_nanos

BYTES_PER_TOKEN_ESTIMATE = 3
"""Of ordinary text, rather low; only for leaving the prompt its part of the context where the client sets no limit."""
_PICOS_PER_NANO = 1000


@dataclass(frozen=True, slots=True)
class CallBound:
    """What to hold for a call at first: at most `want`, at least `at_least`."""

    want: Amount
    at_least: Amount
    useful: Amount
    """Less than this is taken only where what is spent leaves no more: for room that others hold, a call waits."""
    input_tokens: int
    output_tokens: int
    """For each choice, the most that it may write."""
    least_output_tokens: int
    """For each choice, of `at_least`."""
    grows: bool = False
    """Whether `want` is a first slice, and more is held as the output flows."""
    model_calls: int = 1
    """0: an attempt before was charged, and has counted the call."""


def priced_for(call: Call, route: RouteBinding) -> RouteBinding:
    """The route with the prices that the call can come to. Raises RefusedCall where it asks for what has none."""
    if call.one_hour_cache is None:
        if route.price.cache_write_1h_picos is None:
            return route
        return replace(route, price=replace(route.price, cache_write_1h_picos=None))
    if route.price.cache_write_1h_picos is None:
        raise not_bounded(
            call.one_hour_cache, f"ModelRoute {route.route} states no price for it (price.cacheWriteHour); write 5m"
        )
    return route


def _hides_output(call: Call, route: RouteBinding) -> bool:
    return call.hides_output if route.reasoning is None else route.reasoning is Reasoning.HIDDEN


def can_be_metered(call: Call, route: RouteBinding) -> bool:
    """Whether all that the call's answer bills shows on the way, and its server stops writing once it is cut off."""
    if call.billing is not Billing.INPUT_AND_OUTPUT or not call.stream:
        return False
    return route.on_disconnect is OnDisconnect.STOPS and not _hides_output(call, route)


def bound(
    call: Call,
    route: RouteBinding,
    typical_output_tokens: int | None = None,
    *,
    whole_at_once: bool = False,
    known_input_tokens: int | None = None,
) -> CallBound:
    """The most that a call may use, by what is known before it is sent.

    `known_input_tokens`: the most that its provider will count of its prompt, by what it counted before (`prefixes`).
    `typical_output_tokens`: what calls like this one needed, of all choices; None: nothing is known. `whole_at_once`:
    whether a call that may grow had better hold all of it from the start.
    """
    if call.billing is Billing.NOTHING:
        free = Amount(model_calls=1)
        return CallBound(free, free, free, input_tokens=0, output_tokens=0, least_output_tokens=0)
    input_tokens = call.prompts * route.context_tokens
    if call.prompt_tokens_bound is not None:
        input_tokens = min(input_tokens, call.prompt_tokens_bound + call.prompts * route.prompt_overhead_tokens)
    if known_input_tokens is not None:
        input_tokens = min(input_tokens, known_input_tokens)
    most = min(route.max_output_tokens, route.context_tokens) if call.billing is not Billing.INPUT else 0
    if call.asked_output_tokens is None:
        # A prompt that is not all in the request leaves its output as much as the model writes at all.
        estimated_input = (call.prompt_tokens_bound or 0) // BYTES_PER_TOKEN_ESTIMATE
        output = max(min(1, most), min(most, route.context_tokens - estimated_input))
    else:
        output = min(call.asked_output_tokens, most)
    least = max(min(output, SMALLEST_USEFUL_OUTPUT_TOKENS), min(output, call.floor_output_tokens))
    whole, smallest = call.choices * output, call.choices * least
    useful = whole
    if typical_output_tokens is not None and not _hides_output(call, route):  # half of a thought is of no use
        useful = max(smallest, min(whole, typical_output_tokens))
    grows = useful < whole and can_be_metered(call, route)
    return CallBound(
        want=worst(route, input_tokens, useful if grows and not whole_at_once else whole),
        at_least=worst(route, input_tokens, smallest),
        useful=worst(route, input_tokens, useful),
        grows=grows,
        input_tokens=input_tokens,
        output_tokens=output,
        least_output_tokens=least,
    )


def granted_output_tokens(call: Call, route: RouteBinding, bounded: CallBound, granted: Amount) -> int:
    """How many output tokens each choice may have so that the call stays inside what was granted; all that it asks for
    where it grows from there.

    At least `least_output_tokens`, since at least `at_least` was granted.
    """
    if call.billing is not Billing.INPUT_AND_OUTPUT:
        return 0
    if bounded.grows and granted.covers(bounded.useful):
        return bounded.output_tokens
    return min(bounded.output_tokens, covered_output_tokens(route, bounded.input_tokens, granted) // call.choices)


def covered_output_tokens(route: RouteBinding, input_tokens: int, held: Amount) -> int:
    """How many output tokens, of all choices, are covered by what is held beside so much input."""
    output = min(held.tokens - input_tokens, held.output_tokens)
    if route.price.output_picos > 0:
        left_picos = held.usd_nanos * _PICOS_PER_NANO - input_tokens * route.price.worst_input_picos
        output = min(output, left_picos // route.price.output_picos)
    return output


def used(route: RouteBinding, usage: TokenUsage) -> Amount:
    """What a call did cost, by the provider's own counts."""
    usd_nanos = cost_nanos(
        route.price,
        input=usage.input,
        output=usage.output,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        cache_write_1h=usage.cache_write_1h,
    )
    return Amount(
        usd_nanos=usd_nanos,
        tokens=usage.total,
        input_tokens=usage.total - usage.output,
        output_tokens=usage.output,
        model_calls=1,
    )


def counted_before(bounded: CallBound) -> CallBound:
    """The bound of a further attempt of a call that is counted already: money and tokens alone."""
    want, at_least, useful = (
        msgspec.structs.replace(amount, model_calls=0) for amount in (bounded.want, bounded.at_least, bounded.useful)
    )
    return replace(bounded, want=want, at_least=at_least, useful=useful, model_calls=0)


def worst(route: RouteBinding, input_tokens: int, output_tokens: int, model_calls: int = 1) -> Amount:
    """The most that one attempt with so many tokens can cost."""
    usd_nanos = worst_cost_nanos(route.price, input=input_tokens, output=output_tokens)
    return Amount(
        usd_nanos=usd_nanos,
        tokens=input_tokens + output_tokens,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        model_calls=model_calls,
    )
