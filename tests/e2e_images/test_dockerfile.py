"""Which files a Dockerfile takes from its context."""

import pytest

from e2e.images.dockerfile import UnsupportedInstructionError, copied_sources


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("FROM scratch\nCOPY a /a", ("a",)),
        ("FROM x\nCOPY a b/c /to/", ("a", "b/c")),
        ("FROM x\nCOPY --chmod=0755 --chown=1:1 a /a", ("a",)),
        ("FROM x\nCOPY --from=build /made /made", ()),
        ("FROM x\nCOPY \\\n  a \\\n  # between\n  b /to/", ("a", "b")),
        ("FROM x\n# COPY a /a\nRUN cp a b", ()),
        ("from x\ncopy a /a", ("a",)),
        ("ARG X=x\nFROM ${X}\nRUN --mount=type=secret,id=ca-bundle pip install x", ()),
    ],
)
def test_copy_names_what_it_takes(text: str, sources: tuple[str, ...]) -> None:
    assert copied_sources(text) == sources


STAGES = """
FROM debian AS tools
COPY tools.txt /
FROM debian AS made
COPY made.txt /
FROM tools AS one
COPY --from=made /made.txt /
COPY one.txt /
FROM debian AS other
COPY other.txt /
FROM one
COPY last.txt /
"""


@pytest.mark.parametrize(
    ("target", "sources"),
    [
        ("made", ("made.txt",)),
        ("one", ("tools.txt", "made.txt", "one.txt")),
        ("other", ("other.txt",)),
        (None, ("tools.txt", "made.txt", "one.txt", "last.txt")),
    ],
)
def test_only_the_stages_that_a_target_is_made_from_count(target: str | None, sources: tuple[str, ...]) -> None:
    assert copied_sources(STAGES, target) == sources


@pytest.mark.parametrize(
    "text",
    [
        "FROM x\nADD a.tar /",
        "FROM x\nRUN --mount=type=bind,source=a,target=/a cat /a",
        "FROM x AS one\nCOPY a /a\nFROM x\nCOPY --from=0 /a /a",
    ],
)
def test_what_would_reach_the_image_unhashed_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedInstructionError):
        copied_sources(text)
