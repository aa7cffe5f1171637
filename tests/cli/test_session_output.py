"""What is shown of a session at its end."""

import pytest

from ambit.cli.session_output import Text
from ambit.client import Ended, Opened
from ambit.telemetry.reasons import SessionEnd


@pytest.mark.parametrize(
    ("environment", "heading"), [("container", "CONTAINER RAN AFTER"), ("isolate", "FIRST ANSWER AFTER")]
)
def test_the_time_is_named_by_what_was_waited_for(
    environment: str, heading: str, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Opened("s-1", "team-a", "researcher", environment, 1000)
    Text().ended(opened, Ended(SessionEnd.COMPLETED, "", None, 200, 3402, None))
    shown = capsys.readouterr().err
    assert heading in shown
    assert "3402 ms" in shown
