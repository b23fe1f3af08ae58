"""A server of S3 on loopback, for tests."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server(bucket: str, objects: Mapping[str, bytes] = {}) -> Iterator[dict[str, Any]]:
    """A server that runs meanwhile; gives the options for it.

    Args:
        bucket: the one that it has.
        objects: what is in it, by key.
    """
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"endpoint_url": f"http://{host}:{port}", "region": "us-east-1", "key": "k", "secret": "s"}
        client = boto3.client(
            "s3",
            endpoint_url=options["endpoint_url"],
            region_name="us-east-1",
            aws_access_key_id="k",
            aws_secret_access_key="s",
        )
        client.create_bucket(Bucket=bucket)
        for key, content in objects.items():
            client.put_object(Bucket=bucket, Key=key, Body=content)
        client.close()
        yield options
    finally:
        server.stop()
