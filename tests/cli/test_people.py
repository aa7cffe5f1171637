"""`ambit run`, `ambit sessions`, `ambit kill`."""

import asyncio
import json
import signal
import sys
from typing import Any

import pytest

from ambit.ledger import wire
from ambit.telemetry.reasons import SessionEnd
from tests.cli.conftest import Shell, another_authority
from tests.gateway_sessions.test_isolate_sessions import ECHO, FAILS, TALKS_FOR_EVER
from tests.isolates.host import until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


async def test_output_goes_to_stdout_and_usage_to_stderr(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("echo", ECHO)
    done = await shell.call("run", f"{shell.rig.namespace}/echo", "günaydın")
    assert (done.code, done.out) == (0, "you said: günaydın")
    heading, row = done.err.strip().splitlines()
    assert heading.split()[:2] == ["SESSION", "ENDED"]
    assert "Completed" in row
    session = row.split()[0].partition("/")[2]
    assert (await shell.rig.usage(session)).closed_reason is SessionEnd.COMPLETED


async def test_the_input_can_come_from_a_pipe(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("piped", ECHO)
    done = await shell.call("run", f"{shell.rig.namespace}/piped", "-", stdin="long\ntext\n")
    assert (done.code, done.out) == (0, "you said: long\ntext\n")


async def test_an_agent_that_fails_is_exit_code_1_and_says_why(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("fails", FAILS)
    done = await shell.call("run", f"{shell.rig.namespace}/fails", "")
    assert done.code == 1
    assert "Failed" in done.err
    assert "out of ideas" in done.err


async def test_a_tighter_bound_ends_it(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("bounded", TALKS_FOR_EVER)
    done = await shell.call("run", f"{shell.rig.namespace}/bounded", "", "--bound", "runtime=1500ms")
    assert done.code == 1
    assert "RuntimeExhausted" in done.err
    assert done.out.startswith("line 0\nline 1\n")


async def test_a_session_is_of_its_user_and_has_its_labels(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("of-ada", ECHO)
    done = await shell.call("run", f"{shell.rig.namespace}/of-ada", "", "--user", "ada", "--label", "ticket=OPS-17")
    assert done.code == 0
    session = done.err.strip().splitlines()[1].split()[0].partition("/")[2]
    usage = await shell.rig.usage(session)
    assert (usage.user, usage.labels) == ("ada", {"ticket": "OPS-17"})


async def test_ctrl_c_kills_the_session(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("interrupted", TALKS_FOR_EVER)
    async with shell.started("run", f"{shell.rig.namespace}/interrupted", "") as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"line 0\n"
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert b"Killed" in err
    assert await _open_sessions(shell, "interrupted") == []
    assert await shell.rig.sessions_on_host() == []


async def test_a_client_that_is_killed_takes_its_session_with_it(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("orphaned", TALKS_FOR_EVER)
    async with shell.started("run", f"{shell.rig.namespace}/orphaned", "") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.kill()

    async def none_left() -> bool:
        return await _open_sessions(shell, "orphaned") == [] and await shell.rig.sessions_on_host() == []

    await until(none_left)


async def test_sessions_are_listed_and_killed_by_name(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("listed", TALKS_FOR_EVER)
    async with shell.started("run", f"{shell.rig.namespace}/listed", "") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        (session,) = await _open_sessions(shell, "listed")
        listed = await shell.call("sessions", shell.rig.namespace)
        row = next(line for line in listed.out.splitlines() if session in line)
        assert row.split()[:4] == [f"{shell.rig.namespace}/{session}", "listed", "isolate", "Open"]
        killed = await shell.call("kill", f"{shell.rig.namespace}/{session}")
        assert (killed.code, killed.out) == (0, f"{shell.rig.namespace}/{session}: Killed\n")
        _, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 1
        assert b"killed (by " in err
    of_context = await shell.call("sessions", "--all")
    assert session in of_context.out


async def test_a_token_and_a_plug_in_are_identities_too(shell: Shell) -> None:
    await shell.rig.an_isolate_agent("tokens", ECHO)
    token = await shell.rig.token("cli-user")
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    }
    plug_in = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print({json.dumps(json.dumps(credential))})"],
        "interactiveMode": "Never",
    }
    for user in ({"token": token}, {"exec": plug_in}):
        done = await shell.call("run", f"{shell.rig.namespace}/tokens", "", user=user)
        assert done.code == 1
        assert f"user 'system:serviceaccount:{shell.rig.namespace}:cli-user' may not create" in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "user", "code", "says"),
    [
        (["run", "nonsense"], None, 2, "write NAMESPACE/NAME, for example team-a/researcher"),
        (["kill", "nonsense"], None, 2, "write NAMESPACE/NAME, for example team-a/s-"),
        (["run", "team-a/a"], None, 2, 'ambit run team-a/a "INPUT", or - to read it from standard input'),
        (["run", "team-a/absent", ""], None, 1, "ambit: there is no Agent team-a/absent"),
        (["kill", "team-a/s-absent"], None, 1, "ambit: there is no session team-a/s-absent"),
        (["sessions", "absent"], None, 1, "ambit: there is no namespace absent: `kubectl get namespaces` lists them"),
        (["run", "team-a/a", "--bound", "runtime"], None, 2, "write NAME=AMOUNT"),
        (["run", "team-a/a", "--label", "ticket"], None, 2, "write NAME=VALUE"),
        (["sessions"], {}, 1, "neither a token nor a client certificate"),
        (["sessions"], {"exec": {"apiVersion": "x/v1", "command": "/no/such/plug-in"}}, 1, "/no/such/plug-in"),
        (["sessions", "--control-namespace", "elsewhere"], None, 1, "Ambit is not in namespace elsewhere"),
        (["sessions", "--context", "missing"], None, 1, "missing"),
    ],
)
async def test_what_goes_wrong_is_one_sentence_that_says_what_to_do(
    shell: Shell, arguments: list[str], user: dict[str, Any] | None, code: int, says: str
) -> None:
    done = await shell.call(*arguments, user=user)
    assert done.code == code
    assert says in done.err
    assert "Traceback" not in done.err


async def test_another_gateway_than_the_clusters_gets_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell.kubelet, "authority_pem", another_authority()[1])
    done = await shell.call("sessions", shell.rig.namespace)
    assert done.code == 1
    assert "certificate verify failed" in done.err


async def _open_sessions(shell: Shell, agent: str) -> list[str]:
    under = f"agent/{shell.rig.namespace}/{agent}"
    found = await shell.rig.ledger.sessions(wire.ListSessions(under=under, state=wire.State.OPEN))
    return [usage.path.rpartition("/")[2] for usage in found.sessions]
