"""SandboxPool: a StatefulSet of isolate hosts, and the NetworkPolicy that lets them reach the gateway alone."""
