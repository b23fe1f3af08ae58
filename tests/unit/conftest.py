"""Fixtures that several files share. Each is written beside what it is of."""

from tests.downloading import model_server
from tests.grpc_endpoints import grpc_port, grpc_server
from tests.http_endpoints import http_server
from tests.restarts import make_bench, servers

__all__ = ["grpc_port", "grpc_server", "http_server", "make_bench", "model_server", "servers"]
