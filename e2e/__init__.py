"""End-to-end tooling: a real cluster to stand on (`e2e.cluster`) and what runs on it."""
