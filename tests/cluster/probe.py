"""Runs inside a sandbox and says what it could reach.

Its input is a JSON list of targets: `tcp://HOST:PORT`, `dns://HOST?NAME`, `name:NAME`.

It is handed to a container as `python3 -c`, so it uses the standard library alone. The last line of its output is a
JSON object: each target and `reached`, or the error.
"""

import json
import os
import socket
from urllib.parse import urlsplit

TIMEOUT_S = 3


def tcp(host: str, port: int) -> None:
    socket.create_connection((host, port), TIMEOUT_S).close()


def dns(server: str, name: str) -> None:
    """One A query over UDP; any answer at all means that a name leaked out."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.sendto(question, (server, 53))
        sock.recvfrom(512)


def attempt(target: str) -> str:
    try:
        if target.startswith("name:"):
            socket.getaddrinfo(target.removeprefix("name:"), 443)
        else:
            url = urlsplit(target)
            if url.scheme == "dns":
                dns(url.hostname or "", url.query)
            else:
                tcp(url.hostname or "", url.port or 0)
    except OSError as error:
        return type(error).__name__
    return "reached"


print(json.dumps({target: attempt(target) for target in json.loads(os.environ["AMBIT_INPUT"])}))
