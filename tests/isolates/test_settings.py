"""What an isolate host takes where its environment says nothing."""

from ambit.isolates.settings import Settings

LEAST = {
    "AMBIT_STATE_DIR": "/var/lib/ambit/host",
    "AMBIT_POD_UID": "0b2a",
    "AMBIT_POD_NAME": "default-isolate-host-0",
    "AMBIT_GATEWAY_URL": "http://gateway.ambit:8081",
    "AMBIT_GATEWAY_PUBLIC_KEY": "PEM",
    "AMBIT_GATEWAY_TOKEN_FILE": "/var/run/secrets/ambit.dev/gateway/token",
}


def test_a_bundle_that_is_loading_in_gvisor_is_not_taken_for_a_hang() -> None:
    """In gVisor on a loaded machine an 838 KB bundle was killed at 500 ms; the operator sets neither variable."""
    settings = Settings.from_env(LEAST)
    assert (settings.hang_ms, settings.stall_ms) == (1_000, 4_000)
