"""A count of tokens, in any format: free of charge at the provider, and a call all the same.

It is held and settled as one model call without tokens or money: so the session must be alive, the model its own, and a
rate of model calls holds for counts, too.
"""

from collections.abc import Mapping
from typing import Any, Final

from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.wire_format import Billing, Call, Meter, TokenUsage

_NOTHING: Final = TokenUsage(0, 0, 0, 0)


def count_call(model: str, fields: Mapping[str, Any]) -> Call:
    """The call that asks for a count."""
    return Call(
        model=model,
        stream=False,
        prompt_tokens_bound=0,
        choices=1,
        asked_output_tokens=None,
        floor_output_tokens=0,
        wants_usage=True,
        fields=fields,
        billing=Billing.NOTHING,
    )


def count_meter() -> Meter:
    """Whatever the answer is, nothing was used."""
    return JsonMeter(lambda _: _NOTHING)
