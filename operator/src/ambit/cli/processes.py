"""The subcommands that are processes: settings in, `run`, exit code out."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import click

from ambit.api.names import LEDGER_AUDIENCE
from ambit.telemetry import logs, tracing

_LOG = logging.getLogger("ambit.cli")


class _TokenReviews:
    """The ledger's authenticator: the apiserver says whose a token is, if it was made for the ledger."""

    def __init__(self, kube: Any) -> None:
        self._kube = kube

    async def authenticate(self, token: str) -> str | None:
        from ambit.kube import ApiError
        from ambit.ledger.auth import AuthenticationUnavailable

        try:
            identity = await self._kube.token_review(token, (LEDGER_AUDIENCE,))
        except ApiError as error:
            raise AuthenticationUnavailable(str(error)) from error
        return None if identity is None else identity.username


@click.command()
def operator() -> None:
    """Reconciles Ambit's resources (a process of the control plane)."""
    from ambit.control.main import run
    from ambit.control.settings import Settings

    _start("operator", lambda: run(Settings.from_env(os.environ)))


@click.command()
def gateway() -> None:
    """Serves the one door of sandboxes, and people (a process of the control plane)."""
    from ambit.gateway.main import run
    from ambit.gateway.settings import Settings

    _start("gateway", lambda: run(Settings.from_env(os.environ)))


@click.command()
def ledger() -> None:
    """Keeps the accounts (a process of the control plane)."""
    from ambit.kube import ApiError, KubeClient, KubeConfig
    from ambit.ledger.main import run
    from ambit.ledger.settings import Settings

    async def serve() -> None:
        settings = Settings.from_env(os.environ)
        async with KubeClient(KubeConfig.load(os.environ)) as kube:

            async def clock_of_the_apiserver() -> int | None:
                try:
                    return await kube.clock_ms()
                except ApiError as error:
                    _LOG.warning("the apiserver does not say what time it is: %s", error.message)
                    return None

            await run(settings, _TokenReviews(kube), witness=clock_of_the_apiserver)

    _start("ledger", serve)


@click.command("isolate-host")
def isolate_host() -> None:
    """Runs agents as isolates (the process of an isolate host's pod)."""
    from ambit.isolates.main import run
    from ambit.isolates.settings import Settings

    _start("isolate-host", lambda: run(Settings.from_env(os.environ)))


@click.command()
def drain() -> None:
    """Ends every session and takes off finalizers, before the chart is uninstalled (its hook runs this)."""
    from pathlib import Path

    from ambit.control.drain import drain as end_everything
    from ambit.kube import KubeClient, KubeConfig
    from ambit.kube.config import TokenFile
    from ambit.ledger.client import LedgerClient
    from ambit.settings import required

    async def end() -> None:
        namespace = required(os.environ, "AMBIT_NAMESPACE", "ambit-system")
        url = required(os.environ, "AMBIT_LEDGER_URL", "http://ambit-ledger.ambit-system:8090")
        token_file = Path(required(os.environ, "AMBIT_LEDGER_TOKEN_FILE", "/var/run/secrets/ambit-ledger/token"))
        async with (
            KubeClient(KubeConfig.load(os.environ)) as kube,
            LedgerClient(url, TokenFile(token_file, time.monotonic)) as ledger_client,
        ):
            await end_everything(kube, ledger_client, namespace)

    _start("drain", end)


def _start(component: str, process: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a process to its end on uvloop.

    What is wrong with its settings is one sentence and exit code 2; any other error its last log record, and 1.
    """
    import uvloop

    from ambit.kube import ConfigError
    from ambit.settings import SettingsError

    logs.configure(component, os.environ.get("AMBIT_LOG_LEVEL", "INFO"))
    try:
        with (
            tracing.exporting(component, os.environ),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(process())
    except (SettingsError, ConfigError) as error:
        click.echo(f"ambit {component}: {error}", err=True)
        sys.exit(2)
    except Exception:  # noqa: BLE001 -- the edge of the process: whatever ends it is its last log record
        _LOG.exception("%s ended by an error", component)
        sys.exit(1)
