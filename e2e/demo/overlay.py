"""The quickstart as the demo applies it: the same files, with the tags of the images that were built."""

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from e2e.images.catalogue import REGISTRY


def kustomization(folder: Path, resources: Path, references: Mapping[str, str], namespace: str | None) -> str:
    """The text of a kustomization.yaml in `folder` that takes `resources` with our images' built references.

    `namespace` is given to all that has none of its own.
    """
    content: dict[str, object] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        # Relative, since kustomize takes no other; resolved, since it counts from where links lead.
        "resources": [os.path.relpath(resources.resolve(), folder.resolve())],
        "images": [
            {"name": f"{REGISTRY}/{name}", "newTag": reference.rpartition(":")[2]}
            for name, reference in sorted(references.items())
        ],
    }
    if (resources / "images.yaml").is_file():
        # kustomize looks for images only where Kubernetes' own kinds have them, unless it is told.
        content["configurations"] = ["images.yaml"]
    if namespace is not None:
        content["namespace"] = namespace
    return yaml.safe_dump(content, sort_keys=False)


def write(folder: Path, resources: Path, references: Mapping[str, str], namespace: str | None) -> None:
    """Write the overlay's files into `folder`, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(kustomization(folder, resources, references, namespace))
    if (resources / "images.yaml").is_file():
        (folder / "images.yaml").write_bytes((resources / "images.yaml").read_bytes())
