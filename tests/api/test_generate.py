"""The generated files are what the models say, and the apiserver shows what they promise."""

from pathlib import Path

import pytest

from ambit.api.generate import RESOURCES, generated, main

ROOT = Path(__file__).parents[2]


def test_the_files_are_what_the_models_say() -> None:
    for path, text in generated().items():
        assert (ROOT / path).read_text() == text, f"{path} differs: run `make generate`"


def test_check_fails_on_a_difference_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr("sys.argv", ["generate", "--root", str(tmp_path)])
    assert main() == 0
    monkeypatch.setattr("sys.argv", ["generate", "--check", "--root", str(tmp_path)])
    assert main() == 0
    budgets = tmp_path / "crds" / "budgets.yaml"
    budgets.write_text("changed by hand")
    (tmp_path / "crds" / "leftover.yaml").touch()
    assert main() == 1
    assert budgets.read_text() == "changed by hand"
    said = capsys.readouterr().err
    assert "crds/budgets.yaml" in said
    assert "crds/leftover.yaml" in said


def test_names_are_short_and_one_category_lists_them_all() -> None:
    names = {resource.resource.kind: resource.resource.short_name for resource in RESOURCES}
    assert names == {"Budget": "bud", "Agent": "agt", "Sandbox": "sbox", "SandboxPool": "spool", "ModelRoute": "mroute"}
