import os
from pathlib import Path

import pytest

from e2e.cluster.progress import Progress
from e2e.cluster.upstream.build import client
from e2e.install import Kubectl


@pytest.fixture
def admin() -> Kubectl:
    """kubectl with the administrator's rights on the apiserver of KUBECONFIG."""
    return Kubectl(Path(os.environ["KUBECONFIG"]), client("kubectl", Progress()))
