"""The commands for people: run an agent, see sessions, kill one."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import click

from ambit.cli.table import aligned

if TYPE_CHECKING:
    from ambit.cli.session_output import SessionOutput
    from ambit.client import SessionView

EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True)
class Target:
    """`NAMESPACE/NAME`."""

    namespace: str
    name: str


class TargetType(click.ParamType[Target]):
    """Reads `NAMESPACE/NAME`; `example` is one, of the kind that is asked for."""

    name = "NAMESPACE/NAME"

    def __init__(self, example: str) -> None:
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        if isinstance(value, Target):
            return value
        namespace, slash, name = str(value).partition("/")
        if not slash or not namespace or not name or "/" in name:
            self.fail(f"{value!r}: write NAMESPACE/NAME, for example {self._example}", param, ctx)
        return Target(namespace, name)


def _pairs(form: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], dict[str, str]]:
    """Reads NAME=VALUE options; `form` says how to write one."""

    def read(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for value in values:
            name, equals, given = value.partition("=")
            if not equals:
                raise click.BadParameter(f"{value!r}: write {form}")
            pairs[name] = given
        return pairs

    return read


CONTEXT = click.option("--context", help="The kubeconfig's context. Default: the current one.")
CONTROL_NAMESPACE = click.option(
    "--control-namespace",
    envvar="AMBIT_NAMESPACE",
    default="ambit-system",
    show_default=True,
    help="Where Ambit is installed.",
)


@click.command()
@click.argument("agent", type=TargetType("team-a/researcher"))
@click.argument("session_input", metavar="INPUT", required=False)
@click.option(
    "--bound",
    "bounds",
    multiple=True,
    callback=_pairs("NAME=AMOUNT, for example runtime=10m or usd=0.50"),
    metavar="NAME=AMOUNT",
    help="Tightens one of the Agent's bounds for this session, e.g. runtime=10m, usd=0.50, tokens=100k, modelCalls=20.",
)
@click.option("--user", default="", help="For whom the session is, where the Agent bounds each of its users.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    callback=_pairs("NAME=VALUE, for example ticket=OPS-17"),
    metavar="NAME=VALUE",
    help="By what the session's usage is told apart in reports; at most five.",
)
@click.option(
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: the session's events, one object a line, for programs.",
)
@CONTEXT
@CONTROL_NAMESPACE
def run(
    agent: Target,
    session_input: str | None,
    bounds: dict[str, str],
    user: str,
    labels: dict[str, str],
    form: str,
    context: str | None,
    control_namespace: str,
) -> None:
    """Runs one session of an Agent (NAMESPACE/NAME), with INPUT or, if that is `-`, what comes on standard input.

    An Agent that needs no input is given "".

    Its output goes to standard output as it comes, what it used to standard error at the end. The exit code is the
    container's; else 0 if the agent completed, and 1 if not. Ctrl-C kills the session.
    """
    if session_input is None:
        # A session spends money, and most Agents make something of nothing, too.
        whom = f"{agent.namespace}/{agent.name}"
        raise click.UsageError(
            f'say what {whom} is to do: ambit run {whom} "INPUT", or - to read it from standard input; "" where it'
            " needs none"
        )
    text = sys.stdin.read() if session_input == "-" else session_input
    from ambit.cli.session_output import JsonLines, Text

    asked = _Asked(text, bounds, user, labels)
    _exit(_run(agent, asked, JsonLines() if form == "json" else Text(), context, control_namespace))


@click.command()
@click.argument("namespace", required=False)
@click.option("--all", "-a", "everything", is_flag=True, help="Sessions that have ended, too.")
@CONTEXT
@CONTROL_NAMESPACE
def sessions(namespace: str | None, everything: bool, context: str | None, control_namespace: str) -> None:
    """Lists the sessions of NAMESPACE (default: that of the kubeconfig's context) that are open."""
    _exit(_sessions(namespace, everything, context, control_namespace))


@click.command()
@click.argument("session", type=TargetType("team-a/s-7f3kq2m4x6p5w2na (ambit sessions lists them)"))
@CONTEXT
@CONTROL_NAMESPACE
def kill(session: Target, context: str | None, control_namespace: str) -> None:
    """Kills a session (NAMESPACE/SESSION), and returns when nothing of it is running."""
    _exit(_kill(session, context, control_namespace))


class _Asked(NamedTuple):
    input: str
    bounds: dict[str, str]
    user: str
    labels: dict[str, str]


async def _run(
    agent: Target,
    asked: _Asked,
    shown: "SessionOutput",
    context: str | None,
    control_namespace: str,
) -> int:
    from ambit.client import Ended, Output, connect

    async with connect(control_namespace=control_namespace, context=context) as client:
        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with client.run(
            agent.namespace, agent.name, asked.input, asked.bounds, user=asked.user, labels=asked.labels
        ) as session:
            # From here on Ctrl-C ends the session rather than this process: its end is still shown.
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, interrupted.set)
            killing = asyncio.create_task(_kill_when(interrupted, client, session.opened))
            ended: Ended | None = None
            await _write(shown.opened(session.opened))
            try:
                async for event in session:
                    if isinstance(event, Output):
                        await _write(shown.output(event.text))
                    else:
                        ended = event
            finally:
                killing.cancel()
                await asyncio.gather(killing, return_exceptions=True)
        assert ended is not None  # the stream ends with it, or raises
        await _write(shown.ended(session.opened, ended))
        if interrupted.is_set():
            return EXIT_INTERRUPTED
        if ended.exit_code:
            return ended.exit_code
        return 0 if ended.ok else EXIT_FAILED


async def _kill_when(interrupted: asyncio.Event, client: Any, opened: Any) -> None:
    from ambit.client import ClientError

    await interrupted.wait()
    click.echo(f"\nkilling {opened.namespace}/{opened.id} …", err=True)
    try:
        await client.kill(opened.namespace, opened.id)
    except ClientError as error:
        click.echo(f"ambit: {error}", err=True)


async def _write(data: bytes) -> None:
    """Writes whatever the terminal's encoding is; a reader who stops reading does not stop the event loop."""

    def write() -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    await asyncio.to_thread(write)


async def _sessions(namespace: str | None, everything: bool, context: str | None, control_namespace: str) -> int:
    from ambit.client import connect
    from ambit.client.kubeconfig import current_namespace

    wanted = namespace or current_namespace(context)
    async with connect(control_namespace=control_namespace, context=context) as client:
        found = [one for one in await client.sessions(wanted) if everything or one.state == "Open"]
    if not found:
        click.echo(f"no {'' if everything else 'open '}sessions in namespace {wanted}", err=True)
        return 0
    _show_sessions(found)
    return 0


def _show_sessions(found: "list[SessionView]") -> None:
    heading = ("SESSION", "AGENT", "ENVIRONMENT", "STATE", "AGE", "RUNTIME", "CALLS", "TOKENS", "USD")
    rows = [
        (
            f"{one.namespace}/{one.id}",
            one.agent or "-",
            one.environment,
            one.reason or one.state,
            f"{one.age_ms // 1000}s",
            one.usage.runtime,
            str(one.usage.model_calls),
            str(one.usage.tokens),
            one.usage.usd,
        )
        for one in found
    ]
    click.echo(aligned(heading, rows))


async def _kill(session: Target, context: str | None, control_namespace: str) -> int:
    from ambit.client import connect

    async with connect(control_namespace=control_namespace, context=context) as client:
        killed = await client.kill(session.namespace, session.name)
    click.echo(f"{session.namespace}/{session.name}: {killed.reason or killed.state}")
    return 0


def _exit(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Runs a command; what the client cannot do is one or two sentences on standard error, and exit code 1."""
    from ambit.client import ClientError

    try:
        sys.exit(asyncio.run(work))
    except ClientError as error:
        click.echo(f"ambit: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has stopped; the session was killed with the connection.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
