// The main module of an agent's isolate. `ambit-agent.js` re-exports the agent's own main module.
import { Control } from "ambit-control.js";
import { DurableObject } from "cloudflare:workers";
import agent from "ambit-agent.js";

export { Control };

export class Agent extends DurableObject {
  async fetch(request) {
    if (typeof agent?.fetch !== "function") {
      throw new TypeError("the agent's main module has to `export default { async fetch(request, env, ctx) { … } }`");
    }
    // The session's own SQLite database, which nobody else can open; `ctx.storage` is the same with transactions.
    const { storage } = this.ctx;
    const waitUntil = (promise) => this.ctx.waitUntil(promise);
    return agent.fetch(request, { ...this.env, SQL: storage.sql }, { storage, waitUntil });
  }
}
