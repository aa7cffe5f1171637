"""What an agent tries in order to get out of its isolate; made inside one, and where nothing holds it.

Each is the body of an async function that has `request`, `env`, `ctx`, and the `port` of a server that none may reach.
"""

from dataclasses import dataclass
from enum import Enum


class Held(Enum):
    """Where the same attempt succeeds, so that its failure in an isolate says something."""

    NODE = "plain Node"
    WORKERD = "a worker of workerd that is given what the host worker has"
    SQLITE = "SQLite itself"
    NOWHERE = "no engine that is at hand lets it"


@dataclass(frozen=True)
class Attempt:
    """`said`: what the boundary itself says, which a mistake in the attempt would not."""

    name: str
    source: str
    said: str
    succeeds_in: Held

    def __str__(self) -> str:
        return self.name


CODE = "Code generation from strings disallowed"
NEW_CODE = (
    Attempt("eval", "return eval('1 + 1');", CODE, Held.NODE),
    Attempt("Function", "return new Function('return 1 + 1')();", CODE, Held.NODE),
    Attempt("AsyncFunction", "return (async () => {}).constructor('return 1 + 1')();", CODE, Held.NODE),
    Attempt("setTimeout", "return setTimeout('globalThis.x = 1', 0);", "must be of type function", Held.NOWHERE),
    Attempt(
        "WebAssembly",
        "return new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])) && 'compiled';",
        "Wasm code generation disallowed",
        Held.NODE,
    ),
    Attempt("data:", "return (await import('data:text/javascript,export default 2')).default;", "No such", Held.NODE),
    Attempt("http:", "return (await import('http://elsewhere.example/x.js')).default;", "No such module", Held.NOWHERE),
)

STUBS_OF_NODE = (
    Attempt(
        "dgram",
        """
        return new Promise((done, fail) => {
          dgram.createSocket("udp4").send("x", port, "127.0.0.1", (error) => (error ? fail(error) : done("sent")));
        });
        """,
        "nothing came of it",
        Held.NODE,
    ),
    Attempt(
        "child_process", "child_process.execSync('id'); return 'ran';", "execSync method is not implemented", Held.NODE
    ),
)
"""Modules of Node that are there, and reach nothing."""

OF_THE_HOST = (
    Attempt(
        "ATTACH", "return env.SQL.exec(`ATTACH DATABASE '/tmp/x' AS other`).toArray();", "not authorized", Held.SQLITE
    ),
    Attempt(
        "load_extension",
        "return env.SQL.exec(`SELECT load_extension('x')`).toArray();",
        "not authorized",
        Held.NOWHERE,
    ),
    Attempt(
        "PRAGMA",
        "return env.SQL.exec(`PRAGMA max_page_count = 1000000000`).toArray();",
        "not authorized",
        Held.SQLITE,
    ),
    Attempt("VACUUM INTO", "return env.SQL.exec(`VACUUM INTO '/tmp/x'`).toArray();", "cannot VACUUM", Held.SQLITE),
    Attempt("environ", "return fs.readFileSync('/proc/self/environ', 'utf8');", "no such file", Held.NODE),
    Attempt(
        "token",
        "return fs.readFileSync('/var/run/secrets/kubernetes.io/serviceaccount/token', 'utf8');",
        "no such file",
        Held.NOWHERE,
    ),
    Attempt("passwd", "return fs.readFileSync('/etc/passwd', 'utf8');", "no such file", Held.NODE),
    Attempt(
        "caches.open",
        "return (await caches.open('shared')).match('http://elsewhere.example/');",
        "No Cache was configured",
        Held.WORKERD,
    ),
    Attempt(
        "caches.default",
        "return caches.default.match('http://elsewhere.example/');",
        "No Cache was configured",
        Held.WORKERD,
    ),
    Attempt("LOADER", "return workers.env.LOADER.get('x', () => ({}));", "of undefined", Held.WORKERD),
    Attempt("OUTSIDE", "return workers.env.OUTSIDE.fetch('http://outside/egress');", "of undefined", Held.WORKERD),
    Attempt("AgentHost", "return workers.exports.AgentHost.name;", "of undefined", Held.WORKERD),
    Attempt("Egress", "return ctx.exports.Egress.name;", "of undefined", Held.WORKERD),
    Attempt("host.js", "return (await import('host.js')).AgentHost;", "No such module", Held.WORKERD),
)


def attempting(attempt: str) -> str:
    """An agent that makes the attempt and tells what became of it."""
    return f"""
    import * as workers from "cloudflare:workers";
    import {{ connect }} from "cloudflare:sockets";
    import net from "node:net";
    import http from "node:http";
    import dns from "node:dns";
    import fs from "node:fs";
    import dgram from "node:dgram";
    import child_process from "node:child_process";
    const attempt = async (request, env, ctx, port) => {{ {attempt} }};
    export default {{
      async fetch(request, env, ctx) {{
        const port = Number(await request.text());
        const late = new Promise((_, fail) => setTimeout(() => fail(new Error("nothing came of it")), 3000));
        try {{
          return Response.json({{ got: await Promise.race([attempt(request, env, ctx, port), late]) ?? null }});
        }} catch (error) {{
          return Response.json({{ failed: String(error) }});
        }}
      }},
    }};
    """
