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


@pytest.mark.parametrize("process", ["operator", "gateway", "ledger"])
def test_tracing_that_makes_no_sense_is_one_sentence_before_anything_starts(process: str) -> None:
    done = subprocess.run(
        [AMBIT, process],
        env={"PATH": "/usr/bin:/bin", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "write for example OTEL_EXPORTER_OTLP_ENDPOINT=http://" in done.stderr
