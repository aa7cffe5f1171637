"""`python -m ambit.api.generate`: writes the CRDs and the reference; `--check` only says what differs, and fails."""

import argparse
import sys
from pathlib import Path

import yaml

from ambit.api import reference
from ambit.api.agent import Agent
from ambit.api.base import Resource
from ambit.api.budget import Budget
from ambit.api.crd import crd
from ambit.api.model_route import ModelRoute
from ambit.api.sandbox import Sandbox
from ambit.api.sandbox_pool import SandboxPool

RESOURCES: tuple[type[Resource], ...] = (Budget, Agent, Sandbox, SandboxPool, ModelRoute)
CRD_FOLDERS = ("crds", "charts/ambit/files/crds")
"""A chart can only read files inside itself, so it has a copy."""
_CRD_HEADER = "# Written by `make generate` from the API models; edit those instead.\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors: the same schema may stand in several places of a CRD."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def generated() -> dict[str, str]:
    """Every generated file: its path from the repository's root, and what is in it."""
    files = {
        f"{folder}/{resource.resource.plural}.yaml": _CRD_HEADER
        + yaml.dump(crd(resource), Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)
        for folder in CRD_FOLDERS
        for resource in RESOURCES
    }
    files["docs/reference/README.md"] = reference.index(RESOURCES)
    for resource in RESOURCES:
        files[f"docs/reference/{reference.page_name(resource)}"] = reference.page(resource)
    return files


def main() -> int:
    """Writes or checks; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ambit.api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs from the models")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root (default: here)")
    arguments = parser.parse_args()
    root: Path = arguments.root
    if not (root / "pyproject.toml").is_file():
        parser.error(f"{root.resolve()} is not the repository's root; give it with --root")
    files = generated()
    different = [path for path, text in files.items() if not _same(root / path, text)]
    leftover = [
        str(path.relative_to(root))
        for pattern in (*(f"{folder}/*.yaml" for folder in CRD_FOLDERS), "docs/reference/*.md")
        for path in sorted(root.glob(pattern))
        if str(path.relative_to(root)) not in files
    ]
    if arguments.check:
        for path in (*different, *leftover):
            print(f"{path} is not what the API models say; run `make generate`", file=sys.stderr)
        return 1 if different or leftover else 0
    for path in different:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(files[path], encoding="utf-8")
        print(f"wrote {path}")
    for path in leftover:
        (root / path).unlink()
        print(f"removed {path}")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
