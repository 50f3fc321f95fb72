"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# How long an example takes, or takes to be made, says how busy the machine is. Speed is `make bench`.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
