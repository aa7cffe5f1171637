"""Ambit: environments for AI agents, and bounds that hold."""
