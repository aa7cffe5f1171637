"""What holds for every test."""

from hypothesis import HealthCheck, settings

# An example is judged by what the code makes of it, not by how long a busy machine takes to make it up.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
