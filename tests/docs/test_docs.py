"""What the documentation says of the repository is so: its links lead somewhere, its commands can be typed as they
stand, and each test that it names is there.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/*/README.md")
    for page in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")
TEST = re.compile(r"`(?P<file>tests/[\w/]+\.py|…)(?:::(?P<name>\w+))?(?: -s)?`")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def anchors(page: Path) -> frozenset[str]:
    """As GitHub makes them of headings: lower case, without what is no word, spaces as dashes."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


@cache
def functions(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text()):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} is not there"
        if anchor:
            assert anchor in anchors(target), f"{path} has no heading #{anchor}"


def test_every_page_can_be_come_by() -> None:
    linked = {(page.parent / path).resolve() for page in PAGES for path, _ in LINK.findall(page.read_text()) if path}
    whole_folders = {ROOT / "docs" / "design", ROOT / "docs" / "reference"} & linked
    assert whole_folders
    lost = {named(page) for page in (ROOT / "docs").rglob("*.md") if not {page, page.parent} & (linked | whole_folders)}
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_that_is_named_is_there(page: Path) -> None:
    last = Path()
    for found in TEST.finditer(page.read_text()):
        last = last if found["file"] == "…" else ROOT / found["file"]
        assert last.is_file(), f"{found[0]}: no such file"
        if found["name"]:
            assert found["name"] in functions(last), f"{found[0]}: no such test"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_name_the_python_that_has_what_they_need(page: Path) -> None:
    assert not re.findall(r"(?<!\.venv/bin/)\b(?:python3?|pytest) -m \w+.*", page.read_text())
    assert not re.findall(r"(?<!\.venv/bin/)\bpytest tests/.*", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_module_that_is_run_is_there(page: Path) -> None:
    for module in re.findall(r"python -m ((?:e2e|tests|ambit)[\w.]*)", page.read_text()):
        parent = ROOT / "operator/src" if module.startswith("ambit") else ROOT
        path = parent / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
