"""Builds artifacts one at a time into the user's cache, each under a hash of all that goes into it."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from e2e.cluster import packages
from e2e.cluster.commands import run
from e2e.cluster.errors import Missing
from e2e.cluster.progress import Progress
from e2e.cluster.upstream.catalogue import TOOLS, Artifact, Binary, ModuleFiles

MODULES = Path(__file__).parent
_SOURCES = ("go.mod", "go.sum", "*.go")


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ambit" / "bin"


def ensure(artifacts: Iterable[Artifact], progress: Progress) -> dict[str, Path]:
    """The path of each artifact in the cache, by its name; those that are not there are built first."""
    return {artifact.name: _ensure(artifact, progress) for artifact in artifacts}


def tool(name: str, progress: Progress) -> Path:
    """A link of the tool's own name to its binary, which may answer to several."""
    binary = _ensure(TOOLS[name], progress)
    link = cache_folder() / "tools" / binary.name.removeprefix(TOOLS[name].name + "-") / name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(binary)
    return link


def client(name: str, progress: Progress) -> Path:
    """The path of kubectl or helm.

    Where the embedded cluster was built here it is the one built with it, which is of its version; else the machine's
    own, which saves the build.
    """
    own = shutil.which(name)
    return tool(name, progress) if own is None or _was_built(name) else Path(own)


def _was_built(name: str) -> bool:
    try:
        return cached_path(TOOLS[name]).exists()
    except Missing:  # no Go compiler, so nothing was built
        return False


def _ensure(artifact: Artifact, progress: Progress) -> Path:
    if isinstance(artifact, Binary) and artifact.cgo:
        packages.require(packages.BUILD, progress)
    path = cached_path(artifact)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path.parent / f".{artifact.name}.lock"):
        if path.exists():  # built by someone else while this process waited
            return path
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{artifact.name}-") as folder:
            unfinished = Path(folder) / artifact.name
            if isinstance(artifact, Binary):
                with progress.step(f"build {artifact.name}", f"cold: about {artifact.minutes:g} min"):
                    _build(artifact, unfinished)
            else:
                with progress.step(f"fetch {artifact.name}"):
                    _collect(artifact, unfinished)
            unfinished.rename(path)
    return path


def cached_path(artifact: Artifact) -> Path:
    return cache_folder() / f"{artifact.name}-{_hash(artifact)}"


def _hash(artifact: Artifact) -> str:
    digest = hashlib.sha256(repr(artifact).encode())
    folder = MODULES / artifact.module
    for pattern in _SOURCES:
        for source in sorted(folder.glob(pattern)):
            digest.update(f"\n{source.name}\n".encode() + source.read_bytes())
    if isinstance(artifact, Binary):
        digest.update(repr((_go_settings(), _linked_library(artifact), _argv(artifact, Path("out")))).encode())
    return digest.hexdigest()[:16]


def _argv(binary: Binary, output: Path) -> list[str]:
    variables = [f"-X {name}={value}" for name, value in binary.link_variables.items()]
    return [
        *("go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath"),
        *("-ldflags", " ".join(["-s", "-w", *variables])),
        *("-tags", ",".join(binary.tags)),
        *("-o", str(output), binary.package),
    ]


def _build(binary: Binary, output: Path) -> None:
    run(_argv(binary, output), cwd=str(MODULES / binary.module), env=_environment(binary))


def _environment(binary: Binary) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "GOFLAGS"}
    # GOWORK: a workspace above this checkout must not decide what is built here.
    return inherited | {"CGO_ENABLED": "1" if binary.cgo else "0", "GOWORK": "off"}


def _collect(files: ModuleFiles, output: Path) -> None:
    folder = Path(_module_folder(files))
    output.write_text("".join(f"---\n{(folder / path).read_text().rstrip()}\n" for path in files.paths))


def _module_folder(files: ModuleFiles) -> str:
    cwd = str(MODULES / files.module)
    environment = os.environ | {"GOWORK": "off"}
    run(["go", "mod", "download", files.dependency], cwd=cwd, env=environment)
    return run(
        ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", files.dependency], cwd=cwd, env=environment
    ).strip()


@cache
def _go_settings() -> str:
    packages.require_go()
    return run(["go", "env", "GOVERSION", "GOOS", "GOARCH", "GOAMD64", "GOARM64"], cwd=str(MODULES / "node-tools"))


def _linked_library(binary: Binary) -> str:
    return run(["pkg-config", "--modversion", "libseccomp"]) if binary.cgo else ""


@contextmanager
def _lock(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
