"""Upstream Kubernetes as processes on this machine: no Docker, no registry, nothing left behind."""
