"""The commands of docs/own-cluster.md, run as they stand."""

import os
import re
import subprocess
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "own-cluster.md"


def runner_kubeconfig(admin: Path, kubectl: Path, namespace: str, folder: Path) -> Path:
    """The kubeconfig that the page has CI make for `runner` of `namespace`, made by the page's own commands in
    `folder`, with `admin`'s rights. Raises CalledProcessError where one of them fails.
    """
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "create token runner" in block)
    made, _, _ = block.replace("team-a", namespace).rpartition('KUBECONFIG="$runner"')
    assert made, "the page makes a kubeconfig and then runs ambit with it"
    programs = folder / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(kubectl)
    before = {"PATH": f"{programs}:{os.environ['PATH']}", "KUBECONFIG": str(admin), "TMPDIR": str(folder)}
    shown = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{{ {made}\n}} >&2; printf %s "$runner"'],
        env={**os.environ, **before},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(shown.stdout)
