"""Coverage-guided fuzzing of what reads hostile bytes: `python -m tests.fuzz --seconds 120`."""
