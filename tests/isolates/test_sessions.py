"""A session from its opening to its end, on a real supervisor and real workerd."""

from tests.isolates.host import Host

HELLO = """
export default {
  async fetch(request, env, ctx) {
    env.SQL.exec("CREATE TABLE notes (text TEXT)");
    env.SQL.exec("INSERT INTO notes VALUES (?)", await request.text());
    const answer = await fetch(env.OPENAI_BASE_URL + "/models?limit=1");
    const [{ text }] = env.SQL.exec("SELECT text FROM notes");
    return Response.json({ text, session: env.AMBIT_SESSION, gateway: await answer.json() });
  },
};
"""


async def test_an_agent_has_its_input_a_database_of_its_own_and_the_gateway(host: Host) -> None:
    opened = await host.open("team-a/s-1", HELLO, "what is a facet?")
    assert opened.status == 200, opened.body
    assert opened.json == {
        "text": "what is a facet?",
        "session": "team-a/s-1",
        "gateway": {"hello": "team-a/s-1"},
    }
