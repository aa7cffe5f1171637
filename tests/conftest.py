"""What holds for every test."""

from hypothesis import HealthCheck, settings

# An example is judged by what the code makes of it, not by how long a busy machine takes to make it up. What is red is
# red for everybody; new examples are for whoever looks for them: `--hypothesis-profile explore`.
EXPLORE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", EXPLORE)
settings.register_profile("any-machine", EXPLORE, derandomize=True)
settings.load_profile("any-machine")
