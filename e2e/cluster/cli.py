"""The command line: parses, chooses the provider, and makes errors into one message."""

from collections.abc import Callable
from typing import TypeVar

import click

from e2e.cluster.current import Current
from e2e.cluster.embedded.provider import Embedded, artifacts
from e2e.cluster.errors import ClusterError
from e2e.cluster.kind import Kind
from e2e.cluster.progress import Progress
from e2e.cluster.provider import MAXIMUM_NODES, PROVIDERS, Provider, Wanted, checked_name, choose
from e2e.cluster.upstream import build, catalogue

Command = TypeVar("Command", bound=Callable[..., None])


class Commands(click.Group):
    """Shows a ClusterError as what it is: a message for the user, and exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A Kubernetes cluster for development and tests."""


def which_cluster(command: Command) -> Command:
    """The options that say which cluster is meant, the same for every command."""
    name = click.option(
        "--name", default="ambit", show_default=True, help="Clusters of different names run side by side."
    )
    provider = click.option(
        "--provider",
        type=click.Choice(PROVIDERS),
        help="Default: kind where it and a Docker engine are, else embedded. `current`: your kubeconfig's context.",
    )
    return name(provider(command))


@main.command()
@which_cluster
@click.option(
    "--nodes",
    type=click.IntRange(0, MAXIMUM_NODES),
    default=1,
    show_default=True,
    help="Real nodes. 0 is a control plane alone: enough for CRDs and controllers.",
)
@click.option("--fake-nodes", type=click.IntRange(0), default=0, show_default=True, help="Nodes simulated by kwok.")
def up(name: str, provider: str | None, nodes: int, fake_nodes: int) -> None:
    """Starts the cluster, or what is missing of it, and waits until it is ready."""
    cluster = provider_of(name, provider)
    cluster.up(Wanted(nodes, fake_nodes))
    click.echo(f"export KUBECONFIG={cluster.kubeconfig()}")


@main.command()
@which_cluster
def down(name: str, provider: str | None) -> None:
    """Removes the cluster and all it left on the machine."""
    provider_of(name, provider).down()


@main.command()
@which_cluster
def status(name: str, provider: str | None) -> None:
    """Shows the cluster's parts. Exit code 1 if it is not running or a part is not well."""
    components = provider_of(name, provider).status()
    if not components:
        raise click.ClickException(f"cluster {name} is not running")
    width = max(len(component.name) for component in components)
    for component in components:
        state = "ok" if component.healthy else "NOT OK"
        click.echo(f"{component.name:{width}}  {state:6}  {component.detail}")
    if not all(component.healthy for component in components):
        raise click.exceptions.Exit(1)


@main.command()
@which_cluster
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
def load(name: str, provider: str | None, images: tuple[str, ...]) -> None:
    """Puts images on the nodes: OCI archives or layouts by path, or names in local image storage."""
    provider_of(name, provider).load(list(images))


@main.command()
@which_cluster
def kubeconfig(name: str, provider: str | None) -> None:
    """Prints the path of the cluster's kubeconfig."""
    click.echo(provider_of(name, provider).kubeconfig())


@main.command("build")
def build_all() -> None:
    """Builds into the cache what is not there yet of all that `up --nodes 1`, kubectl and helm are."""
    progress = Progress()
    build.ensure(artifacts(Wanted(nodes=1, fake_nodes=0)), progress)
    for name in catalogue.TOOLS:
        build.tool(name, progress)


@main.command()
@click.argument("tool", type=click.Choice(sorted(catalogue.TOOLS)))
def tool(tool: str) -> None:
    """Prints the path of a client program, which is built first where it is not in the cache."""
    click.echo(build.tool(tool, Progress()))


def provider_of(name: str, provider: str | None) -> Provider:
    checked_name(name)
    progress = Progress()
    match choose(provider):
        case "kind":
            return Kind(name, progress)
        case "current":
            return Current(progress)
        case _:
            return Embedded(name, progress)
