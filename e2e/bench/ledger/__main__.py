"""`python -m e2e.bench.ledger`: measures, prints a table with each bar beside its figure, and a last line of JSON."""

import asyncio
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec

from e2e.bench.ledger import redis_server, servers
from e2e.bench.ledger.load import Report, Task
from e2e.bench.ledger.systems import row_locks
from e2e.bench.machine import LOAD_CORE, SERVER_CORE, Others, device_sync_p50_ms, percentile, pin
from e2e.cluster import packages
from e2e.cluster.progress import Progress
from e2e.postgres import running as running_postgres

PROCESSES = 3
CALLERS = 64
LEAVES = PROCESSES * CALLERS
MILLION = 1_000_000
GROWTH_PAIRS = 50_000
RECOVERED_SESSIONS = 1000
RECOVERED_PAIRS = 499_000
OTHERS_CORES = 0.1
"""Where the rest of the machine keeps more than this busy, what was measured meanwhile says nothing."""
LOOK_S = 1.0
"""How long it looks at the rest of the machine before it begins."""
LATE_MS = 1.0
"""So late the load's own processes may begin half of their pairs: a latency has that in it."""


@dataclass
class Figures:
    """What was measured, by its key in the last line."""

    values: dict[str, float | None] = field(default_factory=dict[str, float | None])
    invalid: list[str] = field(default_factory=list[str])
    """The keys of those that were measured while something else was under way."""
    _others: Others = field(default_factory=Others)

    def begin(self) -> None:
        """From now on is measured what is put next."""
        self._others = Others()

    def put(self, key: str, value: float | None, note: str = "", disturbed: str = "") -> None:
        """Prints one, and whether the rest of the machine was quiet since `begin`.

        `disturbed`: what else was in the way, if anything.
        """
        self.values[key] = None if value is None else round(value, 3)
        shown = "not measured" if value is None else f"{value:,.2f}"
        others = self._others.cores()
        if others > OTHERS_CORES:
            disturbed = f"others kept {others:.1f} cores busy{'; ' if disturbed else ''}{disturbed}"
        if disturbed:
            self.invalid.append(key)
        said = "; ".join(each for each in (BARS[key], note, disturbed and f"INVALID: {disturbed}") if each)
        click.echo(f"  {key:26} {shown:>14}  {said}")

    def put_latency(self, key: str, value: float, report: Report, note: str = "") -> None:
        """Prints a latency of an open loop, beside it how late the load itself was."""
        late_p50, late_p99 = percentile(report.late_ms, 0.5), percentile(report.late_ms, 0.99)
        said = f"load late by {late_p50:.2f} ms p50, {late_p99:.2f} p99"
        disturbed = "the load was late by itself" if late_p50 > LATE_MS else ""
        self.put(key, value, f"{note}; {said}" if note else said, disturbed)


BARS = {
    "device_sync_p50_ms": "",
    "sqlite_pairs_per_s": "bar 10,000 (stretch 25,000)",
    "reserve_p50_over_sync_ms": "bar 1",
    "reserve_p99_ms": "bar 15 on a device that syncs in 1 ms",
    "million_p99_ms": "bar 15 likewise",
    "postgres_pairs_per_s": "bar 5,000",
    "postgres_p99_ms": "bar 30",
    "ahead_p50_us": "bar 20",
    "ahead_share": "bar 0.98",
    "recovery_1m_s": "bar 10",
    "idle_account_bytes": "bar 1,024",
    "growth_ratio": "bar 1.2",
    "vs_postgres_row_locks": "bar 10",
    "vs_redis_lua": "bar 1",
}


@dataclass(frozen=True)
class Load:
    """How long to load a system."""

    warm_up_s: float
    measured_s: float

    async def apply(self, system: str, address: str, leaves: int = LEAVES, pairs_per_s: float = 0.0) -> Report:
        """Runs the client processes, and adds up what they saw."""
        share = leaves // PROCESSES
        tasks = [
            Task(
                system,
                address,
                (number * share, (number + 1) * share),
                CALLERS,
                self.warm_up_s,
                self.measured_s,
                pairs_per_s / PROCESSES,
                number,
            )
            for number in range(PROCESSES)
        ]
        reports = await asyncio.gather(*(_client_process(task) for task in tasks))
        return Report(
            sum(r.pairs for r in reports),
            [ms for r in reports for ms in r.reserve_ms],
            [ms for r in reports for ms in r.late_ms],
        )

    async def pairs_per_s(self, system: str, address: str) -> float:
        """At full load."""
        return (await self.apply(system, address)).pairs / self.measured_s


async def _client_process(task: Task) -> Report:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "e2e.bench.ledger.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate(msgspec.json.encode(task) + b"\n")
    if process.returncode != 0:
        raise click.ClickException(f"a client process of {task.system} failed: see above")
    return msgspec.json.decode(answer, type=Report)


async def sqlite(folder: Path, load: Load, figures: Figures) -> float:
    """The embedded journal; its pairs a second."""
    sync_ms = figures.values["device_sync_p50_ms"] or 0.0
    async with servers.ledger(str(servers.empty_folder(folder / "sqlite"))) as ledger:
        await servers.open_sessions(ledger.url, LEAVES)
        before = ledger.commits()
        report = await load.apply("ours", ledger.url)
        syncs = (ledger.commits() - before) / (load.warm_up_s + load.measured_s)
        full = report.pairs / load.measured_s
        figures.put("sqlite_pairs_per_s", full, f"{syncs:.0f} syncs a second")
        half = await load.apply("ours", ledger.url, pairs_per_s=full / 2)
        figures.put_latency("reserve_p50_over_sync_ms", percentile(half.reserve_ms, 0.5) - sync_ms, half)
        figures.put_latency("reserve_p99_ms", percentile(half.reserve_ms, 0.99), half)
    return full


async def postgres(folder: Path, load: Load, figures: Figures) -> None:
    """The other journal, in a PostgreSQL on the load's core."""
    with running_postgres(folder / "postgres-journal", core=LOAD_CORE) as address:
        async with servers.ledger(address) as ledger:
            await servers.open_sessions(ledger.url, LEAVES)
            full = await load.pairs_per_s("ours", ledger.url)
            figures.put("postgres_pairs_per_s", full)
            half = await load.apply("ours", ledger.url, pairs_per_s=full / 2)
            figures.put_latency("postgres_p99_ms", percentile(half.reserve_ms, 0.99), half)


async def beside(folder: Path, load: Load, figures: Figures, ours: float) -> None:
    """The two usual ways, with the same callers, their servers on the ledger's core."""
    with running_postgres(folder / "postgres-rows", core=SERVER_CORE) as address:
        await row_locks.set_up(address, LEAVES)
        theirs = await load.pairs_per_s("row-locks", address)
        figures.put("vs_postgres_row_locks", ours / theirs, f"{theirs:,.0f} pairs a second")
    with redis_server.running(folder / "redis") as address:
        theirs = await load.pairs_per_s("redis", address)
        figures.put("vs_redis_lua", ours / theirs, f"{theirs:,.0f} pairs a second")


async def in_process(*arguments: object) -> dict[str, float]:
    """What `in_process` printed."""
    return await _printed("e2e.bench.ledger.in_process", *arguments)


async def _printed(module: str, *arguments: object) -> dict[str, float]:
    """The line of JSON that a measurement in a process of its own printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate()
    if process.returncode != 0:
        raise click.ClickException(f"the measurement of {module} failed: see above")
    return json.loads(answer)


async def holding_ahead(folder: Path, figures: Figures) -> None:
    """What is left to wait for where a call's hold was made before it."""
    async with servers.ledger(str(servers.empty_folder(folder / "ahead"))) as ledger:
        seen = await _printed("e2e.bench.ledger.ahead", ledger.url)
    for key, value in seen.items():
        figures.put(key, value)


async def many_accounts(folder: Path, load: Load, figures: Figures, ours: float) -> None:
    """A million sessions: what they take, what they cost, how long they keep a caller waiting."""
    small = [await in_process(accounts, GROWTH_PAIRS) for accounts in (100, 10_000)]
    store = servers.empty_folder(folder / "million")
    large = await in_process(MILLION, GROWTH_PAIRS, store)
    costs = [each["pair_us"] for each in (*small, large)]
    figures.put("idle_account_bytes", large["idle_account_bytes"])
    figures.put("growth_ratio", max(costs) / min(costs), ", ".join(f"{cost:.1f} µs" for cost in costs))
    async with servers.ledger(str(store)) as ledger:
        report = await load.apply("ours", ledger.url, MILLION, ours / 2)
        note = f"started in {ledger.started_in_s:.1f} s over {large['changes']:,.0f} changes"
        figures.put_latency("million_p99_ms", percentile(report.reserve_ms, 0.99), report, note)


async def recovery(folder: Path, figures: Figures) -> None:
    """How long a ledger takes to start where a million changes are to be replayed."""
    store = servers.empty_folder(folder / "recovery")
    made = await in_process(RECOVERED_SESSIONS, RECOVERED_PAIRS, store)
    async with servers.ledger(str(store)) as ledger:
        seconds = ledger.started_in_s * 1e6 / made["changes"]
        figures.put(
            "recovery_1m_s", seconds, f"{made['changes']:,.0f} changes in {ledger.started_in_s:.2f} s, start included"
        )


async def measure(folder: Path, load: Load, figures: Figures) -> None:
    """Everything, one after the other."""
    await asyncio.sleep(LOOK_S)
    figures.put("device_sync_p50_ms", device_sync_p50_ms(folder))
    figures.begin()
    ours = await sqlite(folder, load, figures)
    figures.begin()
    await beside(folder, load, figures, ours)
    figures.begin()
    await holding_ahead(folder, figures)
    figures.begin()
    await postgres(folder, load, figures)
    figures.begin()
    await recovery(folder, figures)
    figures.begin()
    await many_accounts(folder, load, figures, ours)


@click.command()
@click.option("--seconds", default=10.0, help="How long each load is measured.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the journals lie: on a block device, not tmpfs.")
def main(seconds: float, folder: Path | None) -> None:
    """Measures the ledger, and the two usual ways beside it."""
    for group in (packages.STORE, packages.BENCH):
        packages.require(group, Progress())
    pin(LOAD_CORE)
    figures = Figures()
    root = Path(tempfile.mkdtemp(prefix="ambit-bench-", dir=folder))
    root.chmod(0o755)  # PostgreSQL runs as another user
    try:
        asyncio.run(measure(root, Load(seconds / 5, seconds), figures))
    finally:
        shutil.rmtree(root)
    if figures.invalid:
        click.echo(f"not valid, measure again on an idle machine: {', '.join(figures.invalid)}")
    click.echo(json.dumps({**figures.values, "invalid": figures.invalid}))


if __name__ == "__main__":
    main()
