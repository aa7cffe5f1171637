"""What a Dockerfile takes from its context: as much of the format as that question needs, and no more."""

from __future__ import annotations

import shlex
from collections.abc import Iterator


class UnsupportedInstructionError(Exception):
    """An instruction by which a file could reach the image unnoticed."""


def copied_sources(text: str) -> tuple[str, ...]:
    """The sources of every COPY from the context, as they are written (paths and patterns relative to the context)."""
    sources: list[str] = []
    for line in _instructions(text):
        keyword, _, rest = line.partition(" ")
        match keyword.upper():
            case "COPY":
                words = shlex.split(rest)
                flags = [word for word in words if word.startswith("--")]
                if not any(flag.startswith("--from=") for flag in flags):
                    sources += [word for word in words if not word.startswith("--")][:-1]
            case "ADD":
                raise UnsupportedInstructionError(f"ADD is not hashed: use COPY instead of {line!r}")
            case "RUN" if "type=bind" in rest:
                raise UnsupportedInstructionError(
                    f"bind mounts are not hashed: use COPY in a stage instead of {line!r}"
                )
            case _:
                pass
    return tuple(sources)


def _instructions(text: str) -> Iterator[str]:
    """Instructions with their continuation lines joined and comments gone."""
    pending = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        yield " ".join((pending + line).split())
        pending = ""
    if pending:
        yield " ".join(pending.split())
