"""`ambit`: each subcommand is imported when it is called, so that `ambit run` starts fast."""

import importlib

import click

from ambit import __version__

COMMANDS = {
    "run": "ambit.cli.sessions",
    "sessions": "ambit.cli.sessions",
    "kill": "ambit.cli.sessions",
    "operator": "ambit.cli.processes",
    "gateway": "ambit.cli.processes",
    "ledger": "ambit.cli.ledger",
    "isolate-host": "ambit.cli.processes",
    "drain": "ambit.cli.processes",
}
"""Where each subcommand is defined, in the order in which `ambit --help` lists them: first those for people."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), cmd_name.replace("-", "_"))
        return command


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="ambit")
def main() -> None:
    """Environments for AI agents, and bounds that hold."""
