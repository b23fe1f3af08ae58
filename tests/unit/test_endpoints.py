"""Endpoints: which servers may be asked, and which credentials each may be shown."""

import pytest

from udfs.errors import ModelLoadError
from udfs.models.places import AllowedPlaces
from udfs.remotes.base import Surroundings
from udfs.remotes.credentials import Credentials
from udfs.remotes.endpoints import Endpoint, open_endpoint

SCHEMES = ("grpc", "grpcs", "http", "https")


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "xyzzy")


def opened(url: str, credentials: Credentials) -> Endpoint:
    return open_endpoint(url, SCHEMES, Surroundings(AllowedPlaces([url]), {"bank": credentials}), "bank")


def refusal(url: str, credentials: Credentials) -> str:
    with pytest.raises(ModelLoadError) as caught:
        opened(url, credentials)
    return str(caught.value)


def test_bound_credentials_are_shown_to_their_server() -> None:
    bound = Credentials(bearer_env="TOKEN", servers=("models.example.com:8081",))
    endpoint = opened("grpcs://models.example.com:8081", bound)
    assert endpoint.secrets.headers() == {"authorization": "Bearer xyzzy"}


def test_bound_credentials_are_shown_to_no_other_server_that_is_allowed() -> None:
    bound = Credentials(bearer_env="TOKEN", servers=("models.example.com",))
    assert refusal("https://evil.example.com/score", bound) == (
        "option credentials: 'bank' is not for https://evil.example.com/score; "
        "see offload.credentials.bank.servers (models.example.com)"
    )


def test_the_default_port_of_a_scheme_counts() -> None:
    opened(
        "https://models.example.com/x", Credentials(bearer_env="TOKEN", servers=("models.example.com:443",))
    )


def test_where_credentials_are_for_others_they_are_not_even_read() -> None:
    bound = Credentials(bearer_env="NOWHERE", servers=("models.example.com",))
    assert "is not for" in refusal("https://evil.example.com", bound)


@pytest.mark.parametrize("url", ["http://models.example.com/x", "grpc://10.0.0.7:8081"])
@pytest.mark.parametrize(
    "credentials", [Credentials(bearer_env="TOKEN"), Credentials(headers_env={"x-api-key": "TOKEN"})]
)
def test_secrets_go_to_another_machine_in_clear_text_only_where_the_configuration_says_so(
    url: str, credentials: Credentials
) -> None:
    scheme = url.partition(":")[0]
    assert refusal(url, credentials) == (
        f"option credentials: 'bank' would go to {url} in clear text; write {scheme}s, or allow it with "
        f"offload.credentials.bank.plaintext: true"
    )


@pytest.mark.parametrize("url", ["http://models.example.com/x", "grpc://10.0.0.7:8081"])
def test_where_it_says_so_they_do(url: str) -> None:
    opened(url, Credentials(bearer_env="TOKEN", plaintext=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "[::1]"])
def test_on_the_same_machine_clear_text_is_safe(host: str) -> None:
    opened(f"grpc://{host}:8081", Credentials(bearer_env="TOKEN"))
