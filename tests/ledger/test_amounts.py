"""Amounts are whole numbers, on the wire and in messages."""

import msgspec
import pytest

from ambit.ledger.amounts import MAX_AMOUNT, RESOURCES, Amount, Limit, Resource, describe


@pytest.mark.parametrize("text", ["1.0", "1.5", "1e3", '"1"', "true", "-1", "null", str(MAX_AMOUNT + 1)])
def test_float_money_and_whatever_else_is_no_whole_amount_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"usd": {text}}}', type=Amount)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"window": "Day", "resource": "usd", "amount": {text}}}', type=Limit)


def test_the_wire_has_the_names_of_the_api_and_no_zeros() -> None:
    amount = Amount.of(dict(enumerate(range(1, 11))))
    names = [(resource.value, index + 1) for index, resource in enumerate(RESOURCES)]
    assert msgspec.json.decode(msgspec.json.encode(amount)) == dict(names)
    assert msgspec.json.decode(msgspec.json.encode(dict(names)), type=Amount) == amount
    assert msgspec.json.encode(Amount()) == b"{}"
    assert Amount.of(amount.vector()) == amount


def test_a_misspelt_resource_is_refused_rather_than_ignored() -> None:
    with pytest.raises(msgspec.ValidationError, match="model_calls"):
        msgspec.json.decode(b'{"model_calls": 1}', type=Amount)


def test_covering_means_every_resource() -> None:
    assert Amount(tokens=5, usd_nanos=1).covers(Amount(tokens=5))
    assert not Amount(tokens=5).covers(Amount(usd_nanos=1))
    assert Amount(tokens=5) + Amount(tokens=2, runtime_ms=1) == Amount(tokens=7, runtime_ms=1)


@pytest.mark.parametrize(
    ("resource", "amount", "text"),
    [
        (Resource.USD, 2_500_000_000, "2.5 usd"),
        (Resource.USD, 1, "0.000000001 usd"),
        (Resource.USD, 30_000_000_000, "30 usd"),
        (Resource.TOKENS, 1200, "1200 tokens"),
        (Resource.MODEL_CALLS, 0, "0 modelCalls"),
        (Resource.RUNTIME, 30_500, "30.5 s of runtime"),
        (Resource.GPU_TIME, 1_000, "1 s of gpuTime"),
        (Resource.PAYMENTS, 50_000_000, "0.05 payments"),
        (Resource.INPUT_TOKENS, 7, "7 inputTokens"),
    ],
)
def test_messages_show_amounts_exactly(resource: Resource, amount: int, text: str) -> None:
    assert describe(resource, amount) == text
