"""The apiserver's own messages about types are the ones that the docs explain."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.apiserver import ApiServer
from tests.api.table import changed, full_manifests, written_out

ROWS: list[dict[str, Any]] = written_out(yaml.safe_load((Path(__file__).parent / "type_errors.yaml").read_text()))
PAGE = Path(__file__).parents[2] / "docs" / "errors-from-the-apiserver.md"


def _message(row: dict[str, Any]) -> str:
    return row["message"]


@pytest.mark.parametrize("row", ROWS, ids=_message)
def test_the_page_lists_the_message(row: dict[str, Any]) -> None:
    assert f"| `{row['message']}` |" in PAGE.read_text()


def test_the_page_lists_no_message_that_is_not_tried() -> None:
    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(listed) == len(ROWS)


@pytest.mark.integration
@pytest.mark.parametrize("row", ROWS, ids=_message)
def test_the_apiserver_says_it(apiserver: ApiServer, row: dict[str, Any]) -> None:
    response = apiserver.create(changed(full_manifests()[row["manifest"]], row["change"]), dry_run=True)
    assert response.status_code in (400, 422)
    assert row["message"] in response.json()["message"]
