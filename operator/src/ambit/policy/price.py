"""What tokens cost: integers, pico-dollars inside, rounded up once per settlement to nano-dollars."""

from dataclasses import dataclass
from typing import Self

from ambit.api.model_route import Prices
from ambit.api.quantities import PICOS_PER_NANO, parse_price_picos_per_token


@dataclass(frozen=True)
class Price:
    """Pico-dollars per token, by what the token was."""

    input_picos: int
    output_picos: int
    cache_read_picos: int
    cache_write_picos: int
    cache_write_1h_picos: int | None = None
    """None: calls that ask for such writes are refused."""

    @classmethod
    def of(cls, prices: Prices) -> Self:
        """A route's prices. Cache reads and writes without a price of their own cost what input costs."""
        input_picos = parse_price_picos_per_token(prices.input)
        return cls(
            input_picos=input_picos,
            output_picos=parse_price_picos_per_token(prices.output),
            cache_read_picos=input_picos
            if prices.cache_read is None
            else parse_price_picos_per_token(prices.cache_read),
            cache_write_picos=(
                input_picos if prices.cache_write is None else parse_price_picos_per_token(prices.cache_write)
            ),
            cache_write_1h_picos=(
                None if prices.cache_write_hour is None else parse_price_picos_per_token(prices.cache_write_hour)
            ),
        )

    @property
    def dearest_cache_write_picos(self) -> int:
        """What a cache write of an hour costs, also where it has no price of its own and came unasked."""
        return max(self.cache_write_picos, self.cache_write_1h_picos or 0)

    @property
    def worst_input_picos(self) -> int:
        """The most that an input token can cost: what a bound before the call has to assume."""
        return max(self.input_picos, self.cache_read_picos, self.dearest_cache_write_picos)


def cost_nanos(
    price: Price,
    *,
    input: int = 0,  # noqa: A002 -- the word of every provider's usage
    output: int = 0,
    cache_read: int = 0,
    cache_write: int = 0,
    cache_write_1h: int = 0,
) -> int:
    """The cost in nano-dollars, rounded up. Token counts are disjoint: `input` excludes what was read from or written
    to the cache.
    """
    picos = (
        input * price.input_picos
        + output * price.output_picos
        + cache_read * price.cache_read_picos
        + cache_write * price.cache_write_picos
        + cache_write_1h * price.dearest_cache_write_picos
    )
    return -(-picos // PICOS_PER_NANO)


def worst_cost_nanos(price: Price, *, input: int, output: int) -> int:  # noqa: A002 -- as above
    """The most that a call with at most so many input tokens (cached or not) and output tokens can cost, rounded up."""
    return -(-(input * price.worst_input_picos + output * price.output_picos) // PICOS_PER_NANO)
