"""Sandbox: one container, for a session of a container Agent or of its own, from its account to its end."""
