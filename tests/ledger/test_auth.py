"""Who a token belongs to, how long that is believed, and what happens when nobody can say."""

import pytest

from ambit.ledger.auth import CACHE_S, AuthenticationUnavailable, Components
from ambit.ledger.settings import Settings, parse_components
from ambit.settings import SettingsError

USERS = {"system:serviceaccount:ambit-system:ambit-gateway": "gateway"}


class Reviews:
    """An authenticator that counts, and can be away or change its mind."""

    def __init__(self) -> None:
        self.count = 0
        self.away = False
        self.valid = True

    async def authenticate(self, token: str) -> str | None:
        self.count += 1
        if self.away:
            raise AuthenticationUnavailable("the apiserver is away")
        return f"system:serviceaccount:ambit-system:{token}" if self.valid else None


async def test_a_review_is_believed_for_a_minute_and_no_longer() -> None:
    reviews, now_s = Reviews(), 1000.0
    components = Components(reviews, USERS, lambda: now_s)
    for _ in range(3):
        assert await components.component_of("Bearer ambit-gateway") == "gateway"
    assert reviews.count == 1
    reviews.valid = False
    now_s += CACHE_S - 0.1
    assert await components.component_of("bearer ambit-gateway") == "gateway"
    now_s += 0.1
    assert await components.component_of("Bearer ambit-gateway") is None


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic ambit-gateway", "ambit-gateway", "Bearer somebody-else"]
)
async def test_whoever_is_no_component_is_nobody(header: str | None) -> None:
    assert await Components(Reviews(), USERS, lambda: 0.0).component_of(header) is None


async def test_a_review_that_failed_is_an_error_and_not_remembered() -> None:
    reviews = Reviews()
    components = Components(reviews, USERS, lambda: 0.0)
    reviews.away = True
    with pytest.raises(AuthenticationUnavailable):
        await components.component_of("Bearer ambit-gateway")
    reviews.away = False
    assert await components.component_of("Bearer ambit-gateway") == "gateway"


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_env({"AMBIT_LEDGER_DATA": "/data", "AMBIT_LEDGER_COMPONENTS": "operator=a:b, gateway=c"})
    assert settings.components == {"a:b": "operator", "c": "gateway"}
    assert (settings.listen, settings.health_listen) == ("0.0.0.0:8090", "0.0.0.0:9090")


@pytest.mark.parametrize(
    "text", ["", "operator", "operator=", "=user", "operator=a,,gateway=b", "operator=a,gateway=a"]
)
def test_components_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="AMBIT_LEDGER_COMPONENTS"):
        parse_components(text)


def test_the_data_folder_has_no_default() -> None:
    with pytest.raises(SettingsError, match="AMBIT_LEDGER_DATA"):
        Settings.from_env({"AMBIT_LEDGER_COMPONENTS": "operator=a"})
