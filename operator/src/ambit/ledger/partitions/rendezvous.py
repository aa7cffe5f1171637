"""Which partition a tree is in, and which of the ledgers that are alive writes it. Pure.

Rendezvous hashing: of the ledgers that are alive, the one with the highest hash of its own name with the partition's.
When one of n dies its partitions go to the others, spread evenly, and no other partition moves; when it comes back it
gets the same ones again. Everybody who knows who is alive knows who writes what, without asking.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from hashlib import blake2b
from types import MappingProxyType

from ambit.ledger.journal.partitioned import Member

SILENCE_MS = 2_500
"""A ledger that has told the store nothing for so long is not counted on any more."""


def partition_of(root: str, partitions: int) -> int:
    """The partition of the tree under a root Budget's path. It never changes."""
    return _hash(root) % partitions


def first_choice(partition: int, urls: Iterable[str]) -> str | None:
    """Which of the ledgers is to write a partition; None where there is none."""
    return max(urls, key=lambda url: (_hash(f"{partition} {url}"), url), default=None)


def alive(members: Iterable[Member], silence_ms: int = SILENCE_MS) -> tuple[str, ...]:
    """The ledgers that may write, of those that told of themselves lately.

    One whose word comes from the future spoke to a store whose clock another has taken over from: it has to repeat it.
    """
    return tuple(sorted(each.url for each in members if each.serves and abs(each.age_ms) <= silence_ms))


def choices(
    partitions: int, urls: Sequence[str], unable: Mapping[str, Set[int]] = MappingProxyType({})
) -> tuple[str | None, ...]:
    """Who is to write each partition, in their order.

    `unable`: what each ledger says that it cannot write now. It is chosen all the same where nobody can: somebody has
    to try.
    """
    found: list[str | None] = []
    for partition in range(partitions):
        able = [url for url in urls if partition not in unable.get(url, ())]
        found.append(first_choice(partition, able or urls))
    return tuple(found)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
