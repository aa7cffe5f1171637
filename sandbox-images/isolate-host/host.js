// The host worker: trusted code in a shard, between the supervisor and the agents.
//
//   supervisor ── in.sock ──> default export ──> AgentHost (one Durable Object a session)
//                                                  └─ facet `agent`: the agent's code, in an isolate of its own
//   agent's fetch() ──> Egress (its props say which session it serves) ── out.sock ──> supervisor ──> gateway
//
// An agent has no reference to anything here but to `Egress`, and to that only as the place where its fetch() ends: it
// can neither read nor choose the props.

import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import agentMain from "agent-main.js";
import agentControl from "agent-control.js";

const FACET = "agent";
const AGENT_COMPATIBILITY = {
  compatibilityDate: "2026-11-01",
  compatibilityFlags: ["nodejs_compat", "disallow_eval_during_startup"],
};

/** Headers that say who asks. Only Egress says so, never the agent. */
const saysWhoAsks = (name) => name === "authorization" || name === "x-api-key" || name.startsWith("x-ambit-");

/** What the host says of itself an agent's answer must not be able to say. */
const withoutAmbitHeaders = (response) => {
  const headers = new Headers(response.headers);
  for (const name of [...headers.keys()]) if (name.startsWith("x-ambit-")) headers.delete(name);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
};

export class Egress extends WorkerEntrypoint {
  async fetch(request) {
    const headers = new Headers();
    for (const [name, value] of request.headers) {
      // Without `upgrade` a WebSocket is a plain request, and gets the gateway's plain answer.
      if (!saysWhoAsks(name) && name !== "upgrade") headers.append(name, value);
    }
    headers.set("x-ambit-session", this.ctx.props.session);
    headers.set("x-ambit-target", request.url);
    const { method, body } = request;
    return this.env.OUTSIDE.fetch("http://outside/egress", { method, headers, body, redirect: "manual" });
  }
}

/** Holds one session's agent, and is the only one that can end it. */
export class AgentHost extends DurableObject {
  #isolate;

  async fetch(request) {
    const session = request.headers.get("x-ambit-session");
    const codeSha256 = request.headers.get("x-ambit-code-sha256");
    const headers = { "content-type": request.headers.get("content-type") };
    try {
      const agent = this.ctx.facets.get(FACET, async () => ({ class: this.#load(session, codeSha256) }));
      const input = new Request("http://session.ambit/", { method: "POST", body: request.body, headers });
      return withoutAmbitHeaders(await agent.fetch(input));
    } catch (error) {
      const message = String(error?.stack ?? error);
      return Response.json({ message }, { status: 502, headers: { "x-ambit-host-error": "AgentFailed" } });
    }
  }

  #load(session, codeSha256) {
    this.#isolate = this.env.LOADER.get(`${session}@${codeSha256}`, async () => {
      const headers = { "x-ambit-session": session };
      const response = await this.env.OUTSIDE.fetch("http://outside/code", { headers });
      if (!response.ok) throw new Error(`the code ${codeSha256} is not on this host any more`);
      const { main, modules } = await response.json();
      return {
        ...AGENT_COMPATIBILITY,
        mainModule: "ambit-main.js",
        modules: {
          ...modules,
          "ambit-agent.js": `export { default } from ${JSON.stringify(main)};`,
          "ambit-control.js": agentControl,
          "ambit-main.js": agentMain,
        },
        env: {
          OPENAI_BASE_URL: "http://gateway.ambit/openai/v1",
          ANTHROPIC_BASE_URL: "http://gateway.ambit/anthropic",
          GOOGLE_GEMINI_BASE_URL: "http://gateway.ambit/gemini",
          AMBIT_SESSION: session,
        },
        globalOutbound: this.ctx.exports.Egress({ props: { session } }),
      };
    });
    this.ctx.waitUntil(this.#tellLoaded(session));
    return this.#isolate.getDurableObjectClass("Agent");
  }

  /** The supervisor has one agent loaded at a time: loads in a row would keep the heartbeat waiting like a hang. */
  async #tellLoaded(session) {
    await this.#isolate.getEntrypoint("Control").loaded().catch(() => undefined); // that it failed, the agent's fetch says
    await this.env.OUTSIDE.fetch("http://outside/loaded", { method: "POST", headers: { "x-ambit-session": session } });
  }

  /** Ends the agent: its requests, timers and background work, its isolate, its database. Answers this object's id. */
  async end() {
    this.ctx.facets.abort(FACET, new Error("the session has ended"));
    this.ctx.facets.delete(FACET);
    if (this.#isolate !== undefined) {
      const stillThere = await this.#isolate.getEntrypoint("Control").unload().then(
        () => true, // abortIsolate() does not return
        () => false,
      );
      if (stillThere) throw new Error("the agent's isolate did not unload");
    }
    await this.ctx.storage.deleteAll();
    return this.ctx.id.toString();
  }

  /** Ends this object too, and so closes its files. Does not return. */
  evict() {
    this.ctx.abort("the session has ended");
  }
}

export default {
  async fetch(request, env) {
    if (request.method === "GET") return new Response(null, { status: 204 }); // the watchdog's heartbeat
    const host = env.HOST.get(env.HOST.idFromName(request.headers.get("x-ambit-session")));
    if (request.method === "POST") return host.fetch(request);
    const id = await host.end();
    await host.evict().catch(() => undefined);
    return new Response(null, { status: 204, headers: { "x-ambit-object": id } });
  },
};
