"""Amounts as users write them, and the integers that Ambit counts with.

Money is US dollars outside and nano-dollars inside; prices are US dollars per million tokens outside and pico-dollars
per token inside; counts are whole; durations are GEP-2257 strings outside and milliseconds inside. Quantities follow
Kubernetes' own grammar and rounding (`k8s.io/apimachinery/pkg/api/resource`): what is finer than a nano-unit is
rounded up, so that the apiserver's CEL rules and this module see the same number. Floats never hold an amount.
"""

import re
from fractions import Fraction

NANOS_PER_USD = 10**9
PICOS_PER_NANO = 1000
_PICOS_PER_TOKEN_AT_ONE_USD_PER_MILLION = 10**6

_SUFFIXES: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}
_QUANTITY = re.compile(
    r"(?P<sign>[+-]?)(?P<digits>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[KMGTPE]i|[numkMGTPE])?)",
    re.ASCII,
)
_DURATION = re.compile(r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+)(ms|h|m|s)", re.ASCII)
_MS: dict[str, int] = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_PRICE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", re.ASCII)


class InvalidAmount(ValueError):
    """What was written is no amount; the message says what to write instead."""

    def __init__(self, written: str, expected: str) -> None:
        super().__init__(f"{written!r} is not an amount that Ambit can count; write {expected}")
        self.written = written
        self.expected = expected


def _parse_quantity(written: str, expected: str) -> Fraction:
    match = _QUANTITY.fullmatch(written)
    if match is None:
        raise InvalidAmount(written, expected)
    exponent = match["exponent"]
    scale = Fraction(10) ** int(exponent) if exponent is not None else _SUFFIXES[match["suffix"] or ""]
    digits = match["digits"]
    whole, _, decimals = digits.partition(".")
    value = Fraction(int((whole + decimals) or "0"), 10 ** len(decimals)) * scale
    return -value if match["sign"] == "-" else value


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def parse_usd_nanos(written: str) -> int:
    """US dollars as a Kubernetes quantity → nano-dollars, rounded up. Raises InvalidAmount, if negative too."""
    expected = "US dollars of zero or more, such as 2.50 or 0.05"
    value = _parse_quantity(written, expected)
    if value < 0:
        raise InvalidAmount(written, expected)
    return _ceil(value * NANOS_PER_USD)


def parse_count(written: str) -> int:
    """A whole Kubernetes quantity: `500M` → 500 000 000. Raises InvalidAmount, if fractional or negative too."""
    expected = "a whole number of zero or more, such as 100, 500k or 2M"
    value = Fraction(_ceil(_parse_quantity(written, expected) * 10**9), 10**9)
    if value < 0 or value.denominator != 1:
        raise InvalidAmount(written, expected)
    return value.numerator


def parse_duration_ms(written: str) -> int:
    """A GEP-2257 duration (`1h30m` → 5 400 000). Raises InvalidAmount for anything else."""
    if _DURATION.fullmatch(written) is None:
        raise InvalidAmount(written, "a duration of h, m, s and ms with whole numbers, such as 30m or 1h30m")
    return sum(int(number) * _MS[unit] for number, unit in _DURATION_PART.findall(written))


def parse_price_picos_per_token(written: str) -> int:
    """US dollars per million tokens, at most six decimals → pico-dollars per token, exactly. Raises InvalidAmount."""
    if _PRICE.fullmatch(written) is None:
        raise InvalidAmount(written, 'US dollars per million tokens with at most six decimals, such as "0.30"')
    whole, _, decimals = written.partition(".")
    return int(whole) * _PICOS_PER_TOKEN_AT_ONE_USD_PER_MILLION + int(decimals.ljust(6, "0"))


def format_usd_nanos(nanos: int) -> str:
    """Nano-dollars → US dollars, exactly, at least two decimals unless whole: `2500`, `131.20`, `0.000001`."""
    sign = "-" if nanos < 0 else ""
    whole, rest = divmod(abs(nanos), NANOS_PER_USD)
    if rest == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')}"


def format_count(count: int) -> str:
    """A count with the largest suffix that keeps it exact: 2 000 000 → `2M`, 1500 → `1500`, 0 → `0`."""
    for suffix in ("P", "T", "G", "M", "k"):
        scale = _SUFFIXES[suffix].numerator
        if count != 0 and count % scale == 0:
            return f"{count // scale}{suffix}"
    return str(count)


def format_duration_ms(ms: int) -> str:
    """Milliseconds → GEP-2257, exactly: 5 400 000 → `1h30m`, 0 → `0s`; a negative one has a leading minus."""
    if ms == 0:
        return "0s"
    rest = abs(ms)
    text = "-" if ms < 0 else ""
    for unit, size in _MS.items():
        number, rest = divmod(rest, size)
        if number:
            text += f"{number}{unit}"
    return text
