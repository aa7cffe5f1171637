"""What an agent asks of the gateway is in the trace of its session's opening, unless it has one of its own."""

from tests.isolates.host import Host

OPENING = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OWN = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"
ASKS_TWICE = f"""
export default {{
  async fetch(request, env) {{
    await fetch(env.OPENAI_BASE_URL + "/models");
    await fetch(env.OPENAI_BASE_URL + "/models", {{ headers: {{ traceparent: "{OWN}" }} }});
    return new Response("done");
  }},
}};
"""


async def _traces(host: Host, opening: dict[str, str]) -> list[tuple[str | None, str | None]]:
    headers = {"x-ambit-code-sha256": await host.put_code(ASKS_TWICE), "x-ambit-runtime-ms": "30000", **opening}
    async with host.request("POST", "/v1/sessions/team-a/s-1", headers=headers, data=b"") as answer:
        assert (answer.status, await answer.text()) == (200, "done")
    asked = [one.headers for one in host.gateway.asked]
    return [(headers.get("traceparent"), headers.get("tracestate")) for headers in asked]


async def test_an_agents_calls_are_in_the_trace_of_its_opening_or_in_its_own(host: Host) -> None:
    traces = await _traces(host, {"traceparent": OPENING, "tracestate": "vendor=1"})
    assert traces == [(OPENING, "vendor=1"), (OWN, None)]


async def test_where_the_opening_is_in_no_trace_nothing_is_added(host: Host) -> None:
    assert await _traces(host, {}) == [(None, None), (OWN, None)]
