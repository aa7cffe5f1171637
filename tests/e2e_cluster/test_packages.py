"""A missing tool is one sentence that says what to do."""

import os
import re
from pathlib import Path

import pytest

from e2e.cluster import packages
from e2e.cluster.errors import Missing
from e2e.cluster.progress import Progress
from e2e.images.catalogue import REPOSITORY


def test_every_package_of_the_list_has_a_group_that_is_asked_for() -> None:
    assert {package.group for package in packages.catalogue()} == {
        packages.ALERTS,
        packages.BENCH,
        packages.BUILD,
        packages.CONTROL_PLANE,
        packages.IMAGES,
        packages.NODE,
        packages.STORE,
    }


def test_what_is_asked_of_apt_is_on_the_list() -> None:
    asked = {
        name
        for source in (REPOSITORY / "e2e").rglob("*.py")
        for name in re.findall(r'apt-get[", q-]*(?:install|download)[", ]+([a-z][\w+.-]+)', source.read_text())
    }
    assert asked == {"postgresql", "prometheus", "redis-server"}
    assert asked <= {package.name for package in packages.catalogue()}


def test_probes_find_commands_files_and_libraries() -> None:
    assert packages.Package("x", "x", "sh").present()
    assert packages.Package("x", "x", "/etc/passwd").present()
    assert not packages.Package("x", "x", "no-such-command").present()
    assert not packages.Package("x", "x", "/no/such/file").present()
    assert not packages.Package("x", "x", "pc:no-such-library").present()


def test_without_root_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "catalogue", lambda: (packages.Package("node", "ipset", "no-such-command"),))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Missing, match=r"missing on this machine: ipset: install (it|them) .*ipset"):
        packages.require("node", Progress())


def test_without_go_the_message_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match=r"install Go 1\.26 or later"):
        packages.require_go()


def test_an_old_go_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "go").write_text("#!/bin/sh\necho go1.22.1\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Missing, match=r"too old \(go1\.22\.1\)"):
        packages.require_go()
