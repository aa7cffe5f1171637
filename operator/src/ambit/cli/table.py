"""Tables as kubectl prints them: aligned, never cut to the terminal's width, so that they can be piped and copied."""

from collections.abc import Sequence

GAP = "   "


def aligned(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table, without a line end at its end."""
    lines = [heading, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
