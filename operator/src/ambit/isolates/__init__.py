"""The supervisor of an isolate-host pod: it owns the shards (workerd processes) in which agents run as V8 isolates.

It is the only way in (from the gateway, port 8082) and the only way out (to the gateway, port 8081); the shards
themselves have no network.
"""
