"""What the demo prints is whole, and fits a terminal of 80 columns where it can."""

import io
from dataclasses import replace

from rich.console import Console

from e2e.demo.checks import judge
from e2e.demo.report import check_lines, session_table
from tests.e2e_demo.test_checks import CODER, GOOD, RESEARCHER

SESSIONS = (replace(RESEARCHER, id="s-7f3kq2m4x6p5w2na", start_ms=3402), replace(CODER, id="s-aaaabbbbccccdddd"))


def shown(columns: int) -> list[str]:
    console = Console(file=io.StringIO(), width=columns)
    console.print(session_table(SESSIONS))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_session_is_shown_whole_in_eighty_columns() -> None:
    lines = shown(80)
    assert lines == shown(200), "nothing was cut off or broken"
    facts = {line[:22].strip(): line[22:].split() for line in lines}
    assert facts["session"] == ["s-7f3kq2m4x6p5w2na", "s-aaaabbbbccccdddd"]
    assert facts["why it ended"] == ["Completed", "RuntimeExhausted"]
    assert facts["ran for"] == ["3m", "3m"]


def test_the_time_until_an_isolate_answers_is_not_shown_as_its_start() -> None:
    facts = {line[:22].strip(): line[22:].split() for line in shown(80)}
    assert facts["first answer after"] == ["3402", "ms", "-"]
    assert facts["container ran after"] == ["-", "700", "ms"]


def test_each_check_says_all_of_what_was_seen() -> None:
    checks = judge(GOOD)
    text = "\n".join(check_lines(checks))
    for check in checks:
        assert f"✓ {check.statement}\n    {check.detail}" in text
    broken = "\n".join(check_lines(judge(replace(GOOD, running_pods=("s-c-pod",)))))
    assert "✗ no session left anything running\n    s-c-pod" in broken


def test_a_long_reason_is_not_cut_off() -> None:
    why = f"session/demo-1/s-c allows 120 s of runtime in its lifetime: {'0 s of runtime spent, ' * 10}1 s needed"
    seen = replace(GOOD, sessions=(RESEARCHER, replace(CODER, message=why)))
    assert f"    RuntimeExhausted {why}" in list(check_lines(judge(seen)))
