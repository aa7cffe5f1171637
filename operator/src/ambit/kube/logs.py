"""A container's output, followed to its end.

The apiserver's log stream may break at any time (kubelet restart, proxy timeout), and says nothing of whether the
container has ended. So lines are asked for with their timestamps, taken up again after the last one that was passed
on, and the container's own state decides when it is over.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from ambit.kube.errors import ApiError, NotFound, Unreachable
from ambit.kube.resources import PODS

if TYPE_CHECKING:
    from ambit.kube.client import KubeClient

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 2.0


class Cursor:
    """Where the output was passed on up to: drops what a resumed stream repeats."""

    def __init__(self) -> None:
        self._last = b""
        self._passed_at_last = 0
        """How many lines with the timestamp `_last` were passed on: several may share one."""
        self._repeated_at_last = 0

    @property
    def since(self) -> str | None:
        """The instant to resume from, whole seconds as the apiserver takes them; None: from the beginning."""
        return None if not self._last else self._last[:19].decode() + "Z"

    def resume(self) -> None:
        """Call before each new stream."""
        self._repeated_at_last = 0

    def accept(self, line: bytes) -> bytes | None:
        """The output in `line` (`<RFC 3339, UTC> <output>`), or None if it was passed on before."""
        stamp, _, output = line.partition(b" ")
        order = _comparable(stamp)
        last = _comparable(self._last)
        if order < last:
            return None
        if order == last:
            self._repeated_at_last += 1
            if self._repeated_at_last <= self._passed_at_last:
                return None
            self._passed_at_last += 1
        else:
            self._last, self._passed_at_last, self._repeated_at_last = stamp, 1, 1
        return output


def _comparable(stamp: bytes) -> tuple[bytes, bytes]:
    """Timestamps drop trailing zeros of the fraction, so that they do not compare as text."""
    seconds, _, fraction = stamp.rstrip(b"Z").partition(b".")
    return seconds, fraction.ljust(9, b"0")


async def follow(client: "KubeClient", namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
    """Yields the output line by line, each with its line end, until the container has terminated or the pod is gone.

    Waits for a container that has not started. Raises ApiError for refusals that waiting does not cure.
    """
    cursor = Cursor()
    wait_s = FIRST_WAIT_S
    while True:
        # Asked before the log: what the container wrote before it ended is in the stream that follows.
        state = await container_state(client, namespace, pod, container)
        if state == "gone":
            return
        if state != "waiting":
            try:
                async for output in _stream(client, namespace, pod, container, cursor):
                    wait_s = FIRST_WAIT_S
                    yield output
            except NotFound:
                return
            except Unreachable:
                pass
            except ApiError as error:
                # 400: the container is not there yet, or any more; its state is asked for again. 5xx: the kubelet.
                if error.status != 400 and error.status < 500:
                    raise
            else:
                if state == "terminated":
                    return
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


async def container_state(client: "KubeClient", namespace: str, pod: str, container: str) -> str:
    """`waiting`, `running`, `terminated`, or `gone` where there is no such pod."""
    try:
        found = await client.get(PODS, pod, namespace)
    except NotFound:
        return "gone"
    status: dict[str, Any] = found.get("status") or {}
    for entry in status.get("containerStatuses") or ():
        if entry["name"] == container:
            state: dict[str, Any] = entry.get("state") or {}
            return next(iter(state), "waiting")
    # A pod that failed before any container was made (evicted, refused by the kubelet) has no statuses at all.
    return "gone" if status.get("phase") in ("Failed", "Succeeded") else "waiting"


async def _stream(
    client: "KubeClient", namespace: str, pod: str, container: str, cursor: Cursor
) -> AsyncIterator[bytes]:
    query = {"container": container, "follow": "true", "timestamps": "true"}
    if cursor.since is not None:
        query["sinceTime"] = cursor.since
    cursor.resume()
    async with client.stream(PODS, PODS.path(namespace, pod, "log"), query, read_timeout_s=None) as content:
        async for line in lines(content):
            output = cursor.accept(line)
            if output is not None:
                yield output


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length, each with its line end; the rest at the end of the stream counts as one."""
    pending = bytearray()
    async for chunk in content.iter_any():
        pending += chunk
        if b"\n" not in chunk:
            continue
        *whole, rest = bytes(pending).split(b"\n")
        pending = bytearray(rest)
        for line in whole:
            yield line + b"\n"
    if pending:
        yield bytes(pending)
