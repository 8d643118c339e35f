"""What is sent to Nova and comes back, over real sockets."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator

import pytest

from stillframe.errors.nova import NovaSilent, NovaUnreachable
from stillframe.nova.relay import Asked, Relay, end_to_end
from tests.unit.api.some_nova import Received, SomeNova, said


@pytest.fixture
def nova() -> Iterator[SomeNova]:
    with SomeNova() as made:
        yield made


def relay(nova: SomeNova, seconds: float = 10, path: str = "") -> Relay:
    return Relay(lambda: nova.url + path, ssl.create_default_context(), seconds)


def test_a_request_arrives_as_it_was_below_where_nova_is(nova: SomeNova) -> None:
    asked = Asked("PUT", "/v2.1/a%20b?x=%C3%A4&x=2", (("X-Auth-Token", "t"), ("Host", "cloud")), [b"ab", b"c"], 3)
    relay(nova, path="/compute").send(asked).close()
    got = nova.last
    assert (got.method, got.target, got.body) == ("PUT", "/compute/v2.1/a%20b?x=%C3%A4&x=2", b"abc")
    assert (got.one("X-Auth-Token"), got.one("Host"), got.one("Content-Length")) == ("t", "cloud", "3")
    assert got.one("Accept-Encoding") is None


def test_a_body_of_unknown_length_goes_in_chunks(nova: SomeNova) -> None:
    relay(nova).send(Asked("POST", "/", (), [b"ab", b"c" * 70000], None)).close()
    assert (nova.last.body, nova.last.one("Content-Length")) == (b"ab" + b"c" * 70000, None)


def test_an_answer_comes_as_it_is_said(nova: SomeNova) -> None:
    nova.script = lambda _: said(
        b"\x00\xff", 409, "Vary: a", "Vary: b", "X-Hop: 1", "Connection: x-hop, close", "Keep-Alive: 5"
    )
    reply = relay(nova).send(Asked("GET", "/"))
    assert (reply.status, reply.reason, b"".join(reply)) == (409, "Conflict", b"\x00\xff")
    assert reply.headers == (("Vary", "a"), ("Vary", "b"), ("Content-Length", "2"))


def test_the_first_bytes_come_before_the_last_are_said(nova: SomeNova) -> None:
    read = threading.Event()

    def slowly(_: Received) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst"
        assert read.wait(10)
        yield b"second"

    nova.script = slowly
    pieces = iter(relay(nova).send(Asked("GET", "/")))
    assert next(pieces) == b"first"
    read.set()
    assert b"".join(pieces) == b"second"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    ],
    ids=["length", "chunks"],
)
def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one(nova: SomeNova, answer: bytes) -> None:
    nova.script = lambda _: answer
    pieces = iter(relay(nova).send(Asked("GET", "/")))
    assert next(pieces) == b"first"
    with pytest.raises(NovaUnreachable):
        list(pieces)


@pytest.mark.parametrize(("answer", "reason"), [(b"", "connection failed"), (b"SSH-2.0-x\r\n\r\n", "no web service")])
def test_what_is_no_answer(nova: SomeNova, answer: bytes, reason: str) -> None:
    nova.script = lambda _: answer
    with pytest.raises(NovaUnreachable, match=reason):
        relay(nova).send(Asked("GET", "/"))


def test_nobody_there() -> None:
    with SomeNova() as gone:
        pass
    with pytest.raises(NovaUnreachable, match="nobody listens"):
        relay(gone).send(Asked("GET", "/"))


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"], ids=["head", "body"])
def test_every_wait_ends(nova: SomeNova, head: bytes) -> None:
    over = threading.Event()

    def stuck(_: Received) -> Iterator[bytes]:
        yield head
        over.wait(20)

    nova.script = stuck
    with pytest.raises(NovaSilent) as caught:
        list(relay(nova, seconds=0.3).send(Asked("GET", "/")))
    over.set()
    assert caught.value.fault.status == 504


def test_an_answer_that_comes_before_the_body_was_taken_counts(nova: SomeNova) -> None:
    nova.takes_bodies = False
    nova.script = lambda _: said(b"too much", 413)
    pieces = (b"x" * 65536 for _ in range(400))  # more than any socket holds
    reply = relay(nova).send(Asked("POST", "/", (), pieces, 400 * 65536))
    assert (reply.status, b"".join(reply)) == (413, b"too much")


def test_headers_of_one_hop_go_no_further() -> None:
    assert end_to_end([("Connection", "X-A"), ("x-a", "1"), ("TE", "x"), ("X-B", "2")]) == (("X-B", "2"),)
