"""A model of a real MLServer behind a `FaultyProxy`."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from devtools.model_servers import InferenceServer
from examples.iris import train
from tests.faulty_proxy import FaultyProxy
from tests.offload_stand import Ended
from udfs.json_values import JsonValue
from udfs.models.updates import PublishModel
from udfs.records import ModelId

BAD = 1000
"""An event that MLServer refuses."""


@dataclass(frozen=True)
class Far:
    """MLServer, as it is seen through a proxy."""

    server: InferenceServer
    proxy: FaultyProxy
    url: str

    @classmethod
    @contextmanager
    def before(cls, server: InferenceServer, transport: str) -> Iterator[Self]:
        """Stand a proxy before a server, for ``grpc`` or ``http``."""
        url = server.grpc_url if transport == "grpc" else server.http_url
        scheme, _, port = url.rpartition(":")
        with FaultyProxy(int(port)) as proxy:
            yield cls(server, proxy, f"{scheme}:{proxy.port}")

    @property
    def places(self) -> Sequence[str]:
        """Endpoints that its models ask."""
        return self.url, self.server.grpc_url

    def model(self, version: int = 1, /, **options: JsonValue) -> PublishModel:
        """A version of the model `far`, which is asked for through the proxy."""
        return _remote("far", version, self.url, **options)

    def beside(self) -> PublishModel:
        """The model `other`, of the same server without the proxy."""
        return _remote("other", 1, self.server.grpc_url)

    def predicts(self, ended: Sequence[Ended], model: str = "far:1") -> bool:
        """Whether events were predicted by a version as the server does it."""
        species = self.server.examples["iris"].outputs["predict"]
        expected = [(model, {"predict": [species[one.number % len(species)]]}) for one in ended]
        return [(one.model, one.outputs) for one in ended] == expected


def data(number: int) -> JsonValue:
    """What to score of an event."""
    if number == BAD:
        return dict.fromkeys(train.FIELDS, math.nan)
    measures = train.MEASURES[number % len(train.MEASURES)].tolist()
    return dict(zip(train.FIELDS, measures, strict=True))


def _remote(name: str, version: int, url: str, **options: JsonValue) -> PublishModel:
    asked = {"url": url, "model": "iris", "outputs": "predict", "fields": ",".join(train.FIELDS)}
    return PublishModel(ModelId(name, version), "open-inference", options={**asked, **options})
