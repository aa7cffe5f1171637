"""Measures opening: from the request to the agent's first byte, through the supervisor, as the gateway sees it.

`python -m tests.isolates.measure_open [SESSIONS]`: one session after the other, each of a new name, on this machine.
"""

import asyncio
import sys
import time

from tests.isolates.host import a_host

AGENT = """
export default {
  async fetch(request, env) {
    env.SQL.exec("CREATE TABLE notes (text TEXT)");
    return new Response("first byte");
  },
};
"""
WARM_UP = 20


async def measure(sessions: int) -> list[float]:
    """Milliseconds of each open."""
    opens_ms: list[float] = []
    async with a_host() as host:
        sha256 = await host.put_code(AGENT)
        for number in range(WARM_UP + sessions):
            asked = time.perf_counter()
            async with host.stream(f"team-a/s-{number}", sha256) as answer:
                await answer.content.readany()
                opens_ms.append((time.perf_counter() - asked) * 1000)
                await answer.read()
    return sorted(opens_ms[WARM_UP:])


def main() -> None:
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    opens_ms = asyncio.run(measure(sessions))
    p50, p99 = opens_ms[sessions // 2], opens_ms[sessions * 99 // 100]
    print(f"open to first byte, {sessions} sessions: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
