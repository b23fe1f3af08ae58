"""The proxy of the tests does to its clients what it says."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread

import pytest

from tests.faults import Cut, Delay, Garbage, Hang, Pass, Refuse, Reset, Storm
from tests.faulty_proxy import FaultyProxy
from tests.ports import held_port
from tests.waiting import wait_until

ANSWER = b"0123456789"
REQUEST = b"POST /score HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"


class Answerer:
    """A server that answers whatever comes with `ANSWER`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received: list[bytes] = []
        self._talks: list[Thread] = []
        self._accepting = Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        # Wakes up accept, which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for talk in self._talks:
            talk.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._talks.append(Thread(target=self._answer, args=(client,)))
            self._talks[-1].start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                while received := client.recv(1000):
                    self.received.append(received)
                    client.sendall(ANSWER)
            except OSError:
                pass


@pytest.fixture
def server() -> Iterator[Answerer]:
    server = Answerer()
    yield server
    server.close()


@pytest.fixture
def proxy(server: Answerer) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultyProxy) -> Iterator[socket.socket]:
    with connected(proxy) as client:
        yield client


def connected(proxy: FaultyProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)


def asked(client: socket.socket) -> bytes:
    """The whole answer to one request."""
    client.sendall(REQUEST)
    return received(client, len(ANSWER))


def received(client: socket.socket, most: int = 10_000) -> bytes:
    """What comes until the connection is closed in order, or until it is enough."""
    answer = b""
    while len(answer) < most and (more := client.recv(most - len(answer))):
        answer += more
    return answer


def test_requests_and_answers_pass(client: socket.socket, server: Answerer) -> None:
    assert asked(client) == ANSWER
    assert server.received == [REQUEST]


def test_a_connection_serves_many_requests(client: socket.socket) -> None:
    assert [asked(client) for _ in range(3)] == [ANSWER] * 3


def test_large_requests_pass(client: socket.socket, server: Answerer) -> None:
    client.sendall(b"x" * 300_000)
    wait_until(lambda: sum(map(len, server.received)) == 300_000)


def test_connections_are_counted(proxy: FaultyProxy) -> None:
    for _ in range(3):
        with connected(proxy) as client:
            asked(client)
    assert proxy.connections == 3


def test_requests_are_counted(proxy: FaultyProxy, client: socket.socket) -> None:
    asked(client)
    asked(client)
    assert (proxy.connections, proxy.requests) == (1, 2)


def test_bytes_of_other_protocols_pass_uncounted(proxy: FaultyProxy, client: socket.socket) -> None:
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert received(client, len(ANSWER)) == ANSWER
    assert proxy.requests == 0


def test_a_server_that_closes_closes_the_client() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        FaultyProxy(listener.getsockname()[1]) as proxy,
        connected(proxy) as client,
    ):
        client.sendall(REQUEST)
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(1000)
            accepted.sendall(b"bye")
        assert received(client) == b"bye"


def test_a_server_that_is_killed_in_an_answer_resets_the_client() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        FaultyProxy(listener.getsockname()[1]) as proxy,
        connected(proxy) as client,
    ):
        client.sendall(REQUEST)
        accepted, _ = listener.accept()
        with accepted:
            # With the request unread, closing resets.
            wait_until(lambda: accepted.recv(1, socket.MSG_PEEK))
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_dead_server_resets_the_client() -> None:
    with held_port() as port, FaultyProxy(port) as proxy, connected(proxy) as client:
        client.sendall(REQUEST)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_delayed_answers_come_later(proxy: FaultyProxy, client: socket.socket) -> None:
    proxy.fault = Delay(0.2)
    begin = time.monotonic()
    assert asked(client) == ANSWER
    assert time.monotonic() - begin >= 0.2


def test_delays_of_clients_are_one_beside_the_other(proxy: FaultyProxy) -> None:
    proxy.fault = Delay(1.0)
    begin = time.monotonic()
    with ExitStack() as open_ones:
        clients = [open_ones.enter_context(connected(proxy)) for _ in range(20)]
        for client in clients:
            client.sendall(REQUEST)
        assert [received(client, len(ANSWER)) for client in clients] == [ANSWER] * 20
    assert time.monotonic() - begin < 15  # of 20 one after the other


def test_delays_on_one_connection_do_not_add_up(
    proxy: FaultyProxy, client: socket.socket, server: Answerer
) -> None:
    proxy.fault = Delay(1.0)
    begin = time.monotonic()
    for count in range(1, 21):
        client.sendall(REQUEST)
        wait_until(lambda count=count: len(server.received) == count, pause=0)  # type: ignore[misc]
    assert received(client, 20 * len(ANSWER)) == ANSWER * 20
    assert time.monotonic() - begin < 15  # of 20 one after the other


def test_refused_connections_can_not_be_made(proxy: FaultyProxy) -> None:
    proxy.fault = Refuse()
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)


def test_refusing_resets_what_is_connected(proxy: FaultyProxy, client: socket.socket) -> None:
    asked(client)
    proxy.fault = Refuse()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_proxy_that_refused_serves_again_at_its_port(proxy: FaultyProxy) -> None:
    port = proxy.port
    proxy.fault = Refuse()
    proxy.fault = Pass()
    with connected(proxy) as client:
        assert asked(client) == ANSWER
    assert proxy.port == port


def test_connections_are_reset_when_they_are_made(proxy: FaultyProxy) -> None:
    proxy.fault = Reset()
    with pytest.raises(ConnectionResetError), connected(proxy) as client:
        client.recv(1)


def test_a_connection_that_exists_is_reset_at_its_next_request(
    proxy: FaultyProxy, client: socket.socket, server: Answerer
) -> None:
    asked(client)
    proxy.fault = Reset()
    client.sendall(REQUEST)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert server.received == [REQUEST]


def test_a_connection_is_reset_in_the_middle_of_an_answer(proxy: FaultyProxy, client: socket.socket) -> None:
    asked(client)
    proxy.fault = Reset(after_bytes=4)
    client.sendall(REQUEST)
    assert received(client, 4) == ANSWER[:4]
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_connection_is_reset_right_after_an_answer(proxy: FaultyProxy, client: socket.socket) -> None:
    proxy.fault = Reset(after_bytes=10)
    assert asked(client) == ANSWER
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_bytes_before_a_reset_are_counted_over_answers(proxy: FaultyProxy, client: socket.socket) -> None:
    proxy.fault = Reset(after_bytes=13)
    assert asked(client) == ANSWER
    client.sendall(REQUEST)
    assert received(client, 3) == ANSWER[:3]
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_half_an_answer_comes_and_the_connection_is_closed(proxy: FaultyProxy, client: socket.socket) -> None:
    proxy.fault = Cut()
    client.sendall(REQUEST)
    assert received(client) == ANSWER[:5]


def test_an_answer_is_cut_where_it_is_said(proxy: FaultyProxy, client: socket.socket) -> None:
    asked(client)
    proxy.fault = Cut(after_bytes=7)
    client.sendall(REQUEST)
    assert received(client) == ANSWER[:7]


def test_garbage_answers_and_the_server_is_not_asked(
    proxy: FaultyProxy, client: socket.socket, server: Answerer
) -> None:
    proxy.fault = Garbage(b"\x00garbage")
    client.sendall(REQUEST)
    assert received(client) == b"\x00garbage"
    assert server.received == []


def test_a_request_that_hangs_is_never_answered(
    proxy: FaultyProxy, client: socket.socket, server: Answerer
) -> None:
    proxy.fault = Hang()
    client.sendall(REQUEST)
    wait_until(lambda: proxy.requests == 1)
    proxy.fault = Pass()
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert server.received == []


def test_connections_that_hang_are_made(proxy: FaultyProxy) -> None:
    proxy.fault = Hang()
    with connected(proxy):
        wait_until(lambda: proxy.connections == 1)


def test_new_connections_work_when_hanging_is_over(proxy: FaultyProxy, client: socket.socket) -> None:
    proxy.fault = Hang()
    client.sendall(REQUEST)
    wait_until(lambda: proxy.requests == 1)
    proxy.fault = Pass()
    with connected(proxy) as other:
        assert asked(other) == ANSWER


def test_a_storm_answers_each_request_with_503(
    proxy: FaultyProxy, client: socket.socket, server: Answerer
) -> None:
    proxy.fault = Storm()
    client.sendall(REQUEST)
    assert received(client).startswith(b"HTTP/1.1 503 ")
    assert server.received == []


def test_a_storm_says_when_to_come_again(proxy: FaultyProxy, client: socket.socket) -> None:
    proxy.fault = Storm(429, retry_after="2")
    client.sendall(REQUEST)
    answer = received(client)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 2\r\n" in answer


def test_a_storm_takes_the_whole_request_before_it_answers(proxy: FaultyProxy, client: socket.socket) -> None:
    proxy.fault = Storm()
    client.sendall(REQUEST[:-2])
    wait_until(lambda: proxy.requests == 1)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)
    client.settimeout(60)
    client.sendall(REQUEST[-2:])
    assert received(client).endswith(b"no healthy upstream")


def test_the_end_of_the_proxy_resets_connections(server: Answerer) -> None:
    with FaultyProxy(server.port) as proxy:
        client = connected(proxy)
        asked(client)
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_proxy_that_refuses_can_end(server: Answerer) -> None:
    with FaultyProxy(server.port) as proxy:
        proxy.fault = Refuse()
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
