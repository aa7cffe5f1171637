"""Every wire format that the gateway serves, called by an isolate on a real cluster, from YAML, within a Budget."""

import json

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.manifests import a_budget, a_pool, a_route, an_agent, an_isolate, code

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CALLER = """
const said = [{ role: "user", content: "hello" }];
const contents = [{ role: "user", parts: [{ text: "hello" }] }];
const calls = (env) => ({
  chat: [`${env.OPENAI_BASE_URL}/chat/completions`, { model: "gpt", max_tokens: 8, messages: said }],
  responses: [`${env.OPENAI_BASE_URL}/responses`, { model: "gpt", max_output_tokens: 16, input: "hello" }],
  embeddings: [`${env.OPENAI_BASE_URL}/embeddings`, { model: "gpt", input: "hello" }],
  messages: [`${env.ANTHROPIC_BASE_URL}/v1/messages`, { model: "claude", max_tokens: 8, messages: said }],
  counted: [`${env.ANTHROPIC_BASE_URL}/v1/messages/count_tokens`, { model: "claude", messages: said }],
  gemini: [`${env.GOOGLE_GEMINI_BASE_URL}/v1beta/models/gemini:generateContent`, { contents }],
  geminiCounted: [`${env.GOOGLE_GEMINI_BASE_URL}/v1beta/models/gemini:countTokens`, { contents }],
});

export default {
  async fetch(request, env) {
    const seen = {};
    for (const [name, [url, body]] of Object.entries(calls(env))) {
      const answer = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      seen[name] = [answer.status, answer.headers.get("x-ambit-reason")];
      await answer.text();
    }
    return Response.json(seen);
  },
};
"""
CALLS = 7


@pytest.mark.usefixtures("scripted_model")
def test_each_is_served_and_refused_once_the_budget_is_spent(cluster: Cluster, namespace: str) -> None:
    providers = {"gpt": "OpenAI", "claude": "Anthropic", "gemini": "Gemini"}
    cluster.apply(
        namespace,
        a_budget(limits=[{"window": "Day", "modelCalls": CALLS}]),
        *(a_route(name, provider=provider) for name, provider in providers.items()),
        *(a_pool(), code(CALLER)),
        an_agent("caller", an_isolate(), models=[{"name": name, "routeRef": {"name": name}} for name in providers]),
    )
    cluster.wait_ready(namespace, "budget/team", "agent/caller", *(f"modelroute/{name}" for name in providers))
    served = cluster.ambit("run", f"{namespace}/caller", "")
    assert served.returncode == 0, served.stderr
    seen = json.loads(served.stdout)
    assert seen == {key: [200, None] for key in seen}
    assert len(seen) == CALLS
    refused = cluster.ambit("run", f"{namespace}/caller", "")
    assert json.loads(refused.stdout) == {key: [402, "LimitExceeded"] for key in seen}
