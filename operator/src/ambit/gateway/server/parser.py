"""One request from bytes, strictly: where two readers could disagree about where a request ends, it is refused.

httptools (llhttp) already refuses Content-Length beside Transfer-Encoding, either of them twice or malformed, folded
header lines, bare CR or LF, white space before a colon, and bad chunk sizes; a table of tests keeps it so. What it lets
pass is refused here: codings besides `chunked`, chunked in HTTP/1.0, HTTP/0.9, trailers, upgrades, no Host or two,
compressed bodies, and framing (chunk extensions, a trailer's line) that goes on without a byte of body.
"""

from typing import Final

import httptools

from ambit.gateway.server.http import Headers, Request
from ambit.gateway.server.limits import BodyMemory, Limits


class BadRequest(Exception):
    """A request that is not served; the connection is closed after the answer. `status`: 400, 413, 415, 431 or 503."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


CONTENT_ENCODING: Final = b"content-encoding"
BODY_MEMORY_FULL: Final = "the gateway holds as many request bodies as its memory allows; try again"


class RequestParser:
    """Takes bytes until one request is complete; of what follows it only notes that it came.

    `release` must be called once the request's body is no longer needed.
    """

    def __init__(self, limits: Limits, memory: BodyMemory) -> None:
        self._limits = limits
        self._memory = memory
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._body = bytearray()  # in one piece: a body of small chunks takes no more memory than it counts for
        self._body_bytes = 0
        self._unframed_bytes = 0
        self._refusal: BadRequest | None = None
        self.started = False
        self.head_complete = False
        self.expects_continue = False
        self.request: Request | None = None
        self.http_1_0 = False
        self.keep_alive = False
        """Whether the client lets the connection be used again."""
        self.pipelined = False
        """Whether the client began another request before it had its answer."""

    @property
    def path(self) -> str:
        """What is known of the path so far, for choosing the shape of a refusal."""
        return self._url.decode("ascii", "replace").partition("?")[0]

    def feed(self, data: bytes) -> None:
        """Raises BadRequest."""
        if not self.head_complete:
            self._head_bytes += len(data)
        self._unframed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # CONNECT: what follows the head is not HTTP any more, and the gateway never tunnels
        except httptools.HttpParserCallbackError:
            raise  # a defect of ours, not of the client
        except httptools.HttpParserError as error:
            if self.request is not None:
                self.pipelined = True
            elif self._refusal is None:
                raise BadRequest(400, f"this is not a well-formed HTTP/1.1 request: {error}") from error
        if self._refusal is not None:
            raise self._refusal
        if not self.head_complete and self._head_bytes > self._limits.head_bytes:
            raise BadRequest(431, self._head_too_large)
        if self.head_complete and self.request is None and self._unframed_bytes > self._limits.head_bytes:
            raise BadRequest(400, "chunk extensions and trailers are not read; send the body in plain chunks")

    def release(self) -> None:
        """Gives back the memory that the body counted for."""
        self._memory.give_back(self._body_bytes)
        self._body_bytes = 0
        self._body.clear()

    # -- called by httptools; an exception here would lose its type ------
    def on_message_begin(self) -> None:
        if self.request is not None:
            self.pipelined = True
        self.started = True

    def on_url(self, url: bytes) -> None:
        if self.request is None:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.request is not None:
            return
        if self.head_complete:
            self._refuse(400, "trailers are not accepted; send those headers before the body")
            return
        self._headers.append((name.lower(), value.strip(b" \t")))
        if len(self._headers) > self._limits.headers:
            self._refuse(431, f"the request has more than {self._limits.headers} headers")

    def on_headers_complete(self) -> None:
        if self.request is not None:
            return
        self.head_complete = True
        self._unframed_bytes = 0
        self.keep_alive = self._parser.should_keep_alive()
        version = self._parser.get_http_version()
        self.http_1_0 = version == "1.0"
        self._check_head(version, self._parser.get_method())

    def on_body(self, body: bytes) -> None:
        if self.request is not None or self._refusal is not None:
            return
        self._unframed_bytes = 0
        if self._body_bytes + len(body) > self._limits.body_bytes:
            self._refuse(413, f"the request's body is larger than {self._limits.body_bytes} bytes")
        elif not self._memory.take(len(body)):
            self._refuse(503, BODY_MEMORY_FULL)
        else:
            self._body_bytes += len(body)
            self._body += body

    def on_message_complete(self) -> None:
        if self.request is not None or self._refusal is not None:
            return
        method = self._parser.get_method().decode("ascii")
        self.request = Request(method, self._url.decode("ascii"), tuple(self._headers), bytes(self._body))
        self._body.clear()

    # -- what httptools lets pass ----------------------------------------
    def _check_head(self, version: str, method: bytes) -> None:
        names = [name for name, _ in self._headers]
        codings = [value for name, value in self._headers if name == b"transfer-encoding"]
        head_bytes = len(self._url) + sum(len(name) + len(value) for name, value in self._headers)
        if head_bytes > self._limits.head_bytes:
            self._refuse(431, self._head_too_large)
        elif not self._url.isascii():
            self._refuse(400, "the request's target holds bytes outside ASCII; percent-encode them")
        elif version not in ("1.0", "1.1"):
            self._refuse(400, f"HTTP/{version} is not served; use HTTP/1.1")
        elif names.count(b"host") > 1 or (version == "1.1" and b"host" not in names):
            self._refuse(400, "a request has exactly one Host header")
        elif codings and (version == "1.0" or codings[0].lower() != b"chunked"):
            self._refuse(400, "the only transfer coding is `chunked`, in HTTP/1.1")
        elif b"upgrade" in names and method != b"CONNECT":
            self._refuse(400, "protocol upgrades are not offered; send the request without an Upgrade header")
        elif any(value.lower() not in (b"", b"identity") for name, value in self._headers if name == CONTENT_ENCODING):
            self._refuse(415, "compressed bodies are not read; send the body as it is, without Content-Encoding")
        else:
            self._check_body_expected()

    @property
    def _head_too_large(self) -> str:
        return f"the request's head is larger than {self._limits.head_bytes} bytes"

    def _check_body_expected(self) -> None:
        announced = body_length(tuple(self._headers))
        if announced is not None and announced > self._limits.body_bytes:
            self._refuse(413, f"the request's body is larger than {self._limits.body_bytes} bytes")
            return
        expectations = [value.lower() for name, value in self._headers if name == b"expect"]
        if expectations and expectations != [b"100-continue"]:
            self._refuse(400, "the only expectation that can be met is 100-continue")
            return
        self.expects_continue = bool(expectations)

    def _refuse(self, status: int, message: str) -> None:
        if self._refusal is None:
            self._refusal = BadRequest(status, message)


def body_length(headers: Headers) -> int | None:
    """What Content-Length says; None without one. Its form has been checked by the parser."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None
