// Ambit's own module in an agent's isolate, evaluated before any of the agent's: the way to end this isolate is frozen
// before the agent's code runs, so that the agent cannot take it away.
import { WorkerEntrypoint, abortIsolate } from "cloudflare:workers";

export class Control extends WorkerEntrypoint {
  /** Answers once the agent's modules have been evaluated. */
  loaded() {}

  unload() {
    abortIsolate("the session has ended");
  }
}

Object.freeze(Control.prototype);
Object.freeze(Control);
