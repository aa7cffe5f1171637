"""`python -m tests.cli.without_extras ARGUMENT…`: `ambit` where only what requirements/runtime.txt locks is installed.

With `--import-all` in place of arguments every module of the processes is imported, those that a process would import
late included.
"""

import importlib
import pkgutil
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import ambit.control
import ambit.gateway
import ambit.isolates
import ambit.ledger

LOCK = Path(__file__).parents[2] / "requirements" / "runtime.txt"
PROCESSES = (ambit.control, ambit.gateway, ambit.isolates, ambit.ledger)


def canonical(distribution: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def missing_modules() -> frozenset[str]:
    """The top-level modules that are installed here, and would not be."""
    locked = {canonical(name) for name in re.findall(r"^([\w.-]+)==", LOCK.read_text(), re.MULTILINE)}
    locked.add("ambit-operator")
    return frozenset(
        module
        for module, distributions in packages_distributions().items()
        if not any(canonical(name) in locked for name in distributions)
    )


class NotInstalled:
    """A finder that finds nothing of what would be missing."""

    def __init__(self, modules: frozenset[str]) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        top = name.partition(".")[0]
        if top in self._modules:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
        return None


def main(arguments: list[str]) -> None:
    sys.meta_path.insert(0, NotInstalled(missing_modules()))
    if arguments == ["--import-all"]:
        for package in PROCESSES:
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        return
    importlib.import_module("ambit.cli.main").main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
