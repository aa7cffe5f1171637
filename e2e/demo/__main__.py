"""`python -m e2e.demo`: see the package's docstring."""

import os
import sys
import time

import click
from rich.console import Console

from e2e.cluster.cli import Commands, which_cluster
from e2e.cluster.progress import Progress, duration
from e2e.cluster.provider import choose
from e2e.demo import steps
from e2e.demo.checks import judge
from e2e.demo.report import check_lines, next_commands, session_table
from e2e.demo.tools import Cluster
from e2e.install import Kubectl, build_and_load, install_chart


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@which_cluster
@click.pass_context
def main(context: click.Context, name: str, provider: str | None) -> None:
    """Ambit's main job on a real cluster, from nothing."""
    context.obj = Cluster(name, choose(provider))


@main.command()
@click.pass_obj
def up(cluster: Cluster) -> None:
    """Does it all and checks it. Exit code 0 only if every check held."""
    started = time.monotonic()
    progress, console = Progress(), Console()
    held = _demonstrate(cluster, progress, console)
    console.print(
        f"\n{'all of it held' if held else 'NOT all of it held'}, after {duration(time.monotonic() - started)}"
    )
    sys.exit(0 if held else 1)


@main.command()
@click.pass_obj
def down(cluster: Cluster) -> None:
    """Removes all that the demo made."""
    steps.remove(cluster, Progress())


def _demonstrate(cluster: Cluster, progress: Progress, console: Console) -> bool:
    state = steps.state_folder(cluster)
    progress.say("1/6 the cluster")
    kubeconfig = steps.bring_up(cluster)
    progress.say("2/6 the images")
    references = build_and_load(cluster.name, cluster.provided_by, steps.IMAGES, progress)
    progress.say("3/6 Ambit and a language model")
    kubectl = Kubectl.of(kubeconfig, progress)
    install_chart(kubeconfig, references, progress)
    steps.serve_the_model(kubectl, references, state, progress)
    progress.say("4/6 the quickstart: a Budget of a team under an organisation's, and two Agents")
    steps.forget_earlier_runs(kubectl, progress)
    namespace = steps.make_namespace(kubectl)
    steps.add_real_providers(cluster, kubectl, namespace, os.environ, progress)
    steps.apply_quickstart(kubectl, namespace, references, state, progress)
    progress.say("5/6 both Agents at work, until their Budget is exhausted and the coder's time is over (two minutes)")
    ran = steps.run_sessions(kubectl, kubeconfig, namespace, progress)
    progress.say("6/6 what happened")
    seen = steps.look(kubectl, namespace, ran, progress)
    checks = judge(seen)
    console.print()
    console.print(session_table(seen.sessions))
    console.print()
    shown = kubectl.run("get", "budgets,agents,sandboxes", "--namespace", namespace)
    console.print(shown, markup=False, highlight=False, soft_wrap=True)
    for line in check_lines(checks):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nTry next, after `export KUBECONFIG={kubeconfig} PATH=$PWD/.venv/bin:$PATH`:", soft_wrap=True)
    for command in next_commands(namespace):
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
    return all(check.held for check in checks)


if __name__ == "__main__":
    main()
