"""HTTP messages as values, and the bytes of a head. No I/O."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, values without surrounding white space, in the order they came."""

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that concern one connection (RFC 9110 7.6.1) and are never passed on."""


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request."""

    method: str
    target: str
    """As it stood in the request line: origin form, absolute form, or CONNECT's authority."""
    headers: Headers
    body: bytes

    @property
    def path(self) -> str:
        """The target up to its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the target's `?`; empty without one."""
        return self.target.partition("?")[2]

    @property
    def is_origin_form(self) -> bool:
        """Whether the target is a path on this server, as against a request to a proxy."""
        return self.method != "CONNECT" and self.target.startswith("/")

    def header(self, name: bytes) -> bytes | None:
        """The one value of a header; None where it is missing, and also where it came twice: what is ambiguous
        decides nothing."""
        values = [value for header, value in self.headers if header == name]
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class Response:
    """One complete answer of the gateway's own."""

    status: int
    headers: Headers
    body: bytes


def named_in_connection(headers: Headers) -> frozenset[bytes]:
    """The headers that `Connection` declares to be hop-by-hop as well."""
    return frozenset(
        token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    )


def response_head(status: int, headers: Headers) -> bytes:
    """Status line and headers, with the empty line that ends them."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, _reason_phrase(status), header_lines(headers))


def request_head(method: str, target: str, headers: Headers) -> bytes:
    """Request line and headers, with the empty line that ends them."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode("ascii"), target.encode("ascii"), header_lines(headers))


def header_lines(headers: Headers) -> bytes:
    """The headers as they stand on the wire. Raises ValueError for one that would end its line."""
    for name, value in headers:
        if b"\r" in value or b"\n" in value or b"\0" in value or b"\r" in name or b"\n" in name:
            raise ValueError(f"header {name!r} holds a line break")
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def _reason_phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:  # a provider's own status, such as 529
        return b"Status"
