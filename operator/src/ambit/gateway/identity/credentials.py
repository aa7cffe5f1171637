"""Where SDKs and proxies put their key."""

import base64
import binascii
from urllib.parse import parse_qs

from ambit.gateway.server.http import Request


def bearer_token(request: Request) -> str | None:
    """The token of `Authorization: Bearer`."""
    return _after_scheme(request.header(b"authorization"), b"bearer")


def presented_token(request: Request) -> str | None:
    """The first of: `Authorization: Bearer`, `x-api-key`, `x-goog-api-key`, the query's `key` (never logged), the
    password of `Proxy-Authorization: Basic`.
    """
    bearer = bearer_token(request)
    if bearer is not None:
        return bearer
    for name in (b"x-api-key", b"x-goog-api-key"):
        api_key = request.header(name)
        if api_key is not None:
            return _text(api_key)
    if request.is_origin_form and (keys := parse_qs(request.query).get("key")):
        return _text(keys[0].encode()) if len(keys) == 1 else None
    basic = _after_scheme(request.header(b"proxy-authorization"), b"basic")
    if basic is None:
        return None
    try:
        _, separator, password = base64.b64decode(basic, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password if separator else None


def _after_scheme(value: bytes | None, scheme: bytes) -> str | None:
    if value is None:
        return None
    given, _, credentials = value.partition(b" ")
    return _text(credentials.strip()) if given.lower() == scheme else None


def _text(value: bytes) -> str | None:
    return value.decode("ascii") if value and value.isascii() else None
