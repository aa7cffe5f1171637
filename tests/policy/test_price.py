"""Cost is exact in pico-dollars and rounded up once."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.api.model_route import Prices
from ambit.policy.price import Price, cost_nanos, worst_cost_nanos

SONNET = Price.of(Prices(input="3", output="15", cache_read="0.30", cache_write="3.75"))
TOKENS = st.integers(0, 10**9)
PICOS = st.integers(0, 10**12)
PRICES = st.builds(
    Price,
    input_picos=PICOS,
    output_picos=PICOS,
    cache_read_picos=PICOS,
    cache_write_picos=PICOS,
    cache_write_1h_picos=st.none() | PICOS,
)


def test_a_million_tokens_cost_the_price() -> None:
    assert cost_nanos(SONNET, input=10**6) == 3 * 10**9
    assert cost_nanos(SONNET, output=10**6) == 15 * 10**9
    assert cost_nanos(SONNET, cache_read=10**6) == 300_000_000
    assert cost_nanos(SONNET, cache_write=10**6) == 3_750_000_000


@pytest.mark.parametrize(("tokens", "nanos"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)])
def test_the_smallest_price_is_rounded_up_once(tokens: int, nanos: int) -> None:
    cheapest = Price.of(Prices(input="0.000001", output="0"))
    assert cost_nanos(cheapest, input=tokens) == nanos


def test_parts_are_summed_before_they_are_rounded() -> None:
    cheapest = Price.of(Prices(input="0.000001", output="0.000001"))
    assert cost_nanos(cheapest, input=500, output=500) == 1


def test_cache_tokens_without_a_price_cost_what_input_costs() -> None:
    price = Price.of(Prices(input="3", output="15"))
    assert cost_nanos(price, cache_read=7) == cost_nanos(price, cache_write=7) == cost_nanos(price, input=7)


@given(PRICES, TOKENS, TOKENS, TOKENS, TOKENS)
def test_never_less_than_the_exact_cost_and_never_a_nano_more(
    price: Price, fresh: int, output: int, read: int, written: int
) -> None:
    exact = Fraction(
        fresh * price.input_picos
        + output * price.output_picos
        + read * price.cache_read_picos
        + written * price.cache_write_picos,
        1000,
    )
    assert exact <= cost_nanos(price, input=fresh, output=output, cache_read=read, cache_write=written) < exact + 1


@given(PRICES, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
def test_the_worst_cost_bounds_every_split_of_the_input(
    price: Price, fresh: int, output: int, read: int, written: int, for_an_hour: int
) -> None:
    actual = cost_nanos(
        price, input=fresh, output=output, cache_read=read, cache_write=written, cache_write_1h=for_an_hour
    )
    assert actual <= worst_cost_nanos(price, input=fresh + read + written + for_an_hour, output=output)


def test_cache_writes_of_an_hour_have_a_price_of_their_own() -> None:
    price = Price.of(Prices(input="3", output="15", cache_write="3.75", cache_write_hour="6"))
    assert cost_nanos(price, cache_write=10, cache_write_1h=1000) == 10 * 3750 + 1000 * 6000
    assert cost_nanos(SONNET, cache_write_1h=1000) == 1000 * 3750
