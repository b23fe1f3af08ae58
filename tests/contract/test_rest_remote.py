"""rest remotes against FastAPI, see devtools/model-servers/rest_app.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.model_servers import Tls, rest_server
from tests.certificates import Authority
from tests.contract.remote_checks import SECONDS, need_environment, offload_error
from tests.contract.remote_contract import RemoteContract, run
from udfs.errors import Fault
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.options import Options
from udfs.remotes import Surroundings
from udfs.remotes.credentials import Credentials

AMOUNTS = [0.0, 1.5, 20.0, 250.0, 499.0, 500.0, 700.0, 999.0, 1000.0, 5000.0, 12.25, 640.0]


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need_environment("rest")
    with rest_server(tmp_path_factory.mktemp("rest")) as server:
        yield server.url


class _Payments(RemoteContract):
    format = "rest"

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        return [{"amount": amount, "country": "NL"} for amount in AMOUNTS]

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls) -> list[JsonValue]:
        return [
            {"score": min(amount / 1000, 1.0), "label": "review" if amount >= 500 else "accept"}
            for amount in AMOUNTS
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return {"amount": "a lot"}


class TestOneByOne(_Payments):
    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, server_url: str) -> Options:
        return {"url": f"{server_url}/score"}

    def test_a_token_opens_what_is_guarded(
        self,
        options: Options,
        inputs: list[JsonValue],
        expected: list[JsonValue],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def check() -> None:
            monkeypatch.setenv("PAYMENTS_TOKEN", "open-sesame")
            url = str(options["url"]).replace("/score", "/guarded")
            known = {"payments": Credentials(bearer_env="PAYMENTS_TOKEN")}
            surroundings = Surroundings(AllowedPlaces([url]), known)
            async with self.opened({"url": url, "credentials": "payments"}, surroundings) as remote:
                assert await remote.score(inputs[:1], SECONDS, ()) == expected[:1]
            async with self.opened({"url": url}) as remote:
                with offload_error(Fault.LASTING) as said:
                    await remote.score(inputs[:1], SECONDS, ())
                assert "401 Unauthorized" in said[0]

        run(check())

    def test_a_redirect_is_not_followed(self, options: Options, inputs: list[JsonValue]) -> None:
        async def check() -> None:
            url = str(options["url"]).replace("/score", "/moved")
            async with self.opened({"url": url}) as remote:
                with offload_error(Fault.LASTING) as said:
                    await remote.score(inputs[:1], SECONDS, ())
                assert "redirects to /score, which is not followed" in said[0]

        run(check())


class TestList(_Payments):
    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, server_url: str) -> Options:
        return {"url": f"{server_url}/score-batch", "batch": "list", "output": "predictions"}


def test_a_server_with_tls_is_asked_over_http_2_with_a_client_certificate(tmp_path: Path) -> None:
    need_environment("rest")
    authority = Authority(tmp_path)
    identity, client = authority.sign("server"), authority.sign("client")
    known = Credentials(
        ca_file=str(authority.file), client_cert_file=str(client.cert), client_key_file=str(client.key)
    )
    with rest_server(tmp_path, Tls(identity.cert, identity.key, authority.file)) as server:
        options: Options = {"url": f"{server.url}/headers", "output": "http_version", "credentials": "them"}
        surroundings = Surroundings(AllowedPlaces([server.url]), {"them": known})

        async def check() -> None:
            async with TestOneByOne().opened(options, surroundings) as remote:
                assert await remote.score([{}], SECONDS, ()) == ["2"]

        run(check())
