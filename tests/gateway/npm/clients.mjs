// Runs calls with the official npm clients, as they come: one JSON list of calls on stdin, one of outcomes on stdout.
import Anthropic, * as anthropic from "@anthropic-ai/sdk";
import OpenAI, * as openai from "openai";

let requests = 0;
const counting = (...args) => {
  requests += 1;
  return fetch(...args);
};

const HELLO = [{ role: "user", content: "hello" }];
const CLIENTS = {
  OpenAI: (call) => new OpenAI({ apiKey: call.token, baseURL: `${call.url}/openai/v1`, fetch: counting }),
  Anthropic: (call) => new Anthropic({ apiKey: call.token, baseURL: `${call.url}/anthropic`, fetch: counting }),
};
const CALLS = {
  chat: (client, body) => client.chat.completions.create({ messages: HELLO, max_tokens: 50, ...body }),
  responses: (client, body) => client.responses.create({ input: "hello", max_output_tokens: 50, ...body }),
  embeddings: (client, body) => client.embeddings.create({ input: "hello", ...body }),
  messages: (client, body) => client.messages.create({ messages: HELLO, max_tokens: 50, ...body }),
  count_tokens: (client, body) => client.messages.countTokens({ messages: HELLO, ...body }),
  models: (client) => client.models.list(),
  files: (client) => client.get("/files"),
};

async function outcome(call) {
  const client = CLIENTS[call.provider](call);
  requests = 0;
  try {
    const answer = await CALLS[call.call](client, call.body);
    if (!call.body?.stream) return { answer, requests };
    const events = [];
    for await (const event of answer) events.push(event);
    return { events, requests };
  } catch (error) {
    const base = call.provider === "OpenAI" ? openai.APIError : anthropic.APIError;
    if (!(error instanceof base)) throw error;
    const header = (name) => error.headers?.get(name) ?? null;
    return {
      error: error.constructor.name,
      status: error.status,
      message: error.message,
      reason: header("x-ambit-reason"),
      requests,
    };
  }
}

let input = "";
for await (const piece of process.stdin) input += piece;
const outcomes = [];
for (const call of JSON.parse(input)) outcomes.push(await outcome(call));
process.stdout.write(JSON.stringify(outcomes));
