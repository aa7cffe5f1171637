"""Input bounds of prompts that grow: what a provider has counted of the part that it has seen, and bytes for the rest.

An agent sends its whole conversation anew with each call. A call whose prompt begins with that of an earlier one to the
same backend, byte for byte, with nothing else changed, costs what that one was counted with and at most the bytes of
what was appended. Pure: no I/O, no clock.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

MAX_BYTES: Final = 16 * 2**20
ENTRY_BYTES: Final = 256
"""Of memory: a digest, a number, and their place in the table."""
WORTH_KNOWING_TOKENS: Final = 2_048
"""A smaller prompt is bounded by its bytes alone: hashing it would cost more than it saves."""
MARGIN_PARTS: Final = 50
"""Of what was counted, a fiftieth is added: templates that look at the whole conversation may put another word into
what stood there before."""


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a prompt."""

    encoded: bytes
    """What makes it the same as another's; what costs no tokens and moves about (marks for caching) is left out."""
    tokens_bound: int
    """What it may add to the prompt, with what stands around it."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as its messages and all else that its tokens depend on."""

    rest: bytes
    messages: tuple[Part, ...]


class Prefixes:
    """The input tokens that providers reported, by what they were counted of; the latest use is forgotten last."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._counted: OrderedDict[bytes, int] = OrderedDict()
        self._max_entries = max_bytes // ENTRY_BYTES

    def bound(self, backend: str, prompt: Prompt, overhead_tokens: int) -> tuple["Place", int | None]:
        """Where the prompt's own count belongs, and the most that it can be counted with; None where nothing that it
        begins with is known. `overhead_tokens`: what the server's template may add.
        """
        digests = tuple(_digests(backend, prompt))
        appended = 0
        for index in range(len(prompt.messages) - 1, -1, -1):
            counted = self._counted.get(digests[index])
            if counted is not None:
                self._counted.move_to_end(digests[index])
                return Place(digests[-1]), counted + counted // MARGIN_PARTS + appended + overhead_tokens
            appended += prompt.messages[index].tokens_bound
        return Place(digests[-1] if digests else b""), None

    def note(self, place: "Place", input_tokens: int) -> None:
        """The provider has counted the prompt."""
        if not place.digest:
            return
        self._counted[place.digest] = input_tokens
        self._counted.move_to_end(place.digest)
        while len(self._counted) > self._max_entries:
            self._counted.popitem(last=False)

    @property
    def used_bytes(self) -> int:
        """About how much memory the table takes."""
        return len(self._counted) * ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Place:
    """Where the count of one prompt is kept."""

    digest: bytes


def _digests(backend: str, prompt: Prompt) -> Iterable[bytes]:
    """Of the prompt up to each of its messages. Lengths go in, too: no two prompts are the same bytes."""
    running = blake2b(digest_size=16)
    for part in (backend.encode(), prompt.rest):
        running.update(b"%d:" % len(part) + part)
    for message in prompt.messages:
        running.update(b"%d:" % len(message.encoded) + message.encoded)
        yield running.copy().digest()
