"""What a Dockerfile takes from its context: as much of the format as that question needs, and no more."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field


class UnsupportedInstructionError(Exception):
    """An instruction by which a file could reach the image unnoticed."""


def copied_sources(text: str, target: str | None = None) -> tuple[str, ...]:
    """The sources of every COPY from the context, as they are written (paths and patterns relative to the context).

    Only those of the stage `target` (None: the last one) and of the stages that it is made from: no other is built.
    Raises KeyError where there is no such stage.
    """
    stages = _stages(text)
    wanted = [target or list(stages)[-1]]
    for name in wanted:  # grows while it is walked
        wanted += [needed for needed in stages[name].needs if needed in stages and needed not in wanted]
    return tuple(source for name, stage in stages.items() if name in wanted for source in stage.sources)


@dataclass(slots=True)
class _Stage:
    """What a stage is made from: others, or images, by name; and files of the context."""

    needs: list[str] = field(default_factory=list[str])
    sources: list[str] = field(default_factory=list[str])


def _stages(text: str) -> dict[str, _Stage]:
    """The stages by name, in their order; one without a name is known by its number."""
    stages: dict[str, _Stage] = {}
    stage = _Stage()  # what stands before the first FROM: only ARG may
    for line in _instructions(text):
        keyword, _, rest = line.partition(" ")
        words = shlex.split(rest) if keyword.upper() in ("FROM", "COPY") else []
        flags = [word for word in words if word.startswith("--")]
        words = [word for word in words if not word.startswith("--")]
        match keyword.upper():
            case "FROM":
                stage = stages.setdefault(words[2] if len(words) == 3 else str(len(stages)), _Stage([words[0]]))
            case "COPY":
                origins = [flag.removeprefix("--from=") for flag in flags if flag.startswith("--from=")]
                if any(origin.isdecimal() for origin in origins):
                    raise UnsupportedInstructionError(f"stages are known by their names: name the one of {line!r}")
                if origins:
                    stage.needs += origins
                else:
                    stage.sources += words[:-1]
            case "ADD":
                raise UnsupportedInstructionError(f"ADD is not hashed: use COPY instead of {line!r}")
            case "RUN" if "type=bind" in rest:
                raise UnsupportedInstructionError(
                    f"bind mounts are not hashed: use COPY in a stage instead of {line!r}"
                )
            case _:
                pass
    return stages


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
