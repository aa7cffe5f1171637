"""Where the documentation is published, for the links in what people are told.

Whoever installs Ambit knows that, and nobody else: `docsUrl` of the chart, `AMBIT_DOCS_URL` of the process. Without it
links are what they are in the source: paths such as `docs/errors.md`.
"""

import re
from typing import Final

IN_THE_SOURCE: Final = "docs"
_BASE: Final = re.compile(r"docs|https?://[^\s?#]+[^\s?#/]")
_base = IN_THE_SOURCE


def is_base(url: str) -> bool:
    """Whether pages can stand below it: `docs`, or an http address without a slash at its end, a query or an anchor."""
    return _BASE.fullmatch(url) is not None


def configure(base: str) -> None:
    """Where this process says that the documentation is; `is_base` holds for it."""
    global _base  # like the logs: one for a process, told once when it starts
    _base = base


def of_refusal(reason: str) -> str:
    """Where a refusal is explained."""
    return f"{_base}/errors.md#{reason.lower()}"
