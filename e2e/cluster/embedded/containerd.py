"""A node's containerd, through ctr: what it holds, and what is sent to it."""

import subprocess
import threading

from e2e.cluster import images
from e2e.cluster.commands import succeeds
from e2e.cluster.embedded.layout import Node
from e2e.cluster.embedded.session import Session
from e2e.cluster.errors import CommandFailed

KUBERNETES_NAMESPACE = "k8s.io"


class Containerd:
    def __init__(self, session: Session, node: Node) -> None:
        self._session = session
        self._node = node

    def ready(self) -> bool:
        return succeeds([*self._session.entering(), *self._ctr("version")], self._session.environment())

    def load(self, image: images.Image) -> bool:
        """Sends an image, only those layers that are missing. False if it was there."""
        if self.references().get(image.reference) == image.digest:
            return False
        self._import(image)
        return True

    def references(self) -> dict[str, str]:
        """Digests of the manifests, by name."""
        rows = self._session.inside(self._ctr("images", "list")).splitlines()[1:]
        return {row.split()[0]: row.split()[2] for row in rows}

    def blobs(self) -> set[str]:
        return set(self._session.inside(self._ctr("content", "list", "--quiet")).split())

    def _import(self, image: images.Image) -> None:
        argv = [*self._session.entering(), *self._ctr("images", "import", "-")]
        present = self.blobs()
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._session.environment(),
        ) as sending:
            assert sending.stdin is not None
            assert sending.stdout is not None
            stdout = sending.stdout
            output: list[bytes] = []
            reader = threading.Thread(target=lambda: output.append(stdout.read()))
            reader.start()
            try:
                images.write_archive(image, present, sending.stdin)
                sending.stdin.close()
            except BrokenPipeError:
                pass  # its exit code and output say why
            reader.join()
        if sending.returncode != 0:
            raise CommandFailed(tuple(argv), sending.returncode, b"".join(output).decode(errors="replace"))

    def _ctr(self, *arguments: str) -> list[str]:
        return ["ctr", f"--address={self._node.containerd_socket}", f"--namespace={KUBERNETES_NAMESPACE}", *arguments]
