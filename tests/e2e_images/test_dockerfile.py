"""Which files a Dockerfile takes from its context."""

import pytest

from e2e.images.dockerfile import UnsupportedInstructionError, copied_sources


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("FROM scratch\nCOPY a /a", ("a",)),
        ("COPY a b/c /to/", ("a", "b/c")),
        ("COPY --chmod=0755 --chown=1:1 a /a", ("a",)),
        ("COPY --from=build /made /made", ()),
        ("COPY \\\n  a \\\n  # between\n  b /to/", ("a", "b")),
        ("# COPY a /a\nRUN cp a b", ()),
        ("copy a /a", ("a",)),
        ("RUN --mount=type=secret,id=ca-bundle pip install x", ()),
    ],
)
def test_copy_names_what_it_takes(text: str, sources: tuple[str, ...]) -> None:
    assert copied_sources(text) == sources


@pytest.mark.parametrize("text", ["ADD a.tar /", "RUN --mount=type=bind,source=a,target=/a cat /a"])
def test_what_would_reach_the_image_unhashed_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedInstructionError):
        copied_sources(text)
