"""Ambit: environments for AI agents, and bounds that hold."""

__version__ = "0.1.0"
