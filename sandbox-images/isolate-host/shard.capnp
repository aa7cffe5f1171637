# One shard: a workerd process that runs up to fifty agents of one namespace, each in an isolate of its own.
#
# It has no network. Its ways to the outside are two unix sockets and a folder, all named by the supervisor on the
# command line (--socket-addr, --external-addr, --directory-path), so that this file is the same for every shard.

using Workerd = import "/workerd/workerd.capnp";

const shard :Workerd.Config = (
  services = [
    (name = "host", worker = .host),
    (name = "outside", external = (http = (style = host))),
    (name = "state", disk = (writable = true)),
    # Where a fetch() of the host worker itself would go, were there one: nowhere.
    (name = "internet", network = (allow = [])),
  ],
  sockets = [(name = "supervisor", http = (style = host), service = "host")],
  v8Flags = [
    # MiB of heap for each isolate. Going over ends the whole process: a backstop, not a tenant's limit.
    "--max-old-space-size=64",
  ],
);

const host :Workerd.Worker = (
  modules = [
    (name = "host.js", esModule = embed "host.js"),
    (name = "agent-main.js", text = embed "agent-main.js"),
    (name = "agent-control.js", text = embed "agent-control.js"),
  ],
  compatibilityDate = "2026-11-01",
  compatibilityFlags = ["experimental"],
  globalOutbound = "internet",
  bindings = [
    (name = "LOADER", workerLoader = ()),
    (name = "HOST", durableObjectNamespace = "AgentHost"),
    (name = "OUTSIDE", service = "outside"),
  ],
  durableObjectNamespaces = [(className = "AgentHost", uniqueKey = "agents", enableSql = true)],
  durableObjectStorage = (localDisk = "state"),
);
