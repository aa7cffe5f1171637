"""A process that is told too little says in one sentence what to write, and exits with 2."""

import subprocess
import sys
from pathlib import Path

import pytest

AMBIT = Path(sys.executable).parent / "ambit"


@pytest.mark.parametrize("process", ["operator", "gateway", "ledger", "isolate-host", "drain"])
def test_a_missing_setting_is_one_sentence(process: str, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [], current-context: c, "
        "contexts: [{name: c, context: {cluster: c}}]}"
    )
    done = subprocess.run(
        [AMBIT, process],
        env={"PATH": "/usr/bin:/bin", "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "is not set; write for example AMBIT_" in done.stderr
    assert "Traceback" not in done.stderr
