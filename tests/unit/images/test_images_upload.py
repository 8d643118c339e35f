from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from stillframe.errors.base import StillframeError
from stillframe.errors.glance import ImageQuotaExceeded, UploadCutOff
from stillframe.images.glance import Glance, words
from stillframe.images.upload import KEPT, Destination, Upload

MIB = 1 << 20
IMAGE = "11111111-1111-4111-8111-111111111111"


class Taker:
    """A web server that takes uploads: `answer` is given what has come of one, and says when it is enough."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.headers: dict[str, str] = {}
        self.path = ""
        self.stop_after: int | None = None
        self.status = 204
        self.ended = threading.Event()
        taker = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                taker.take(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, request: BaseHTTPRequestHandler) -> None:
        self.path = request.path
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        length = int(self.headers["content-length"])
        enough = length if self.stop_after is None else self.stop_after
        while len(self.taken) < enough:
            piece = request.rfile.read1(min(1 << 16, enough - len(self.taken)))
            if not piece:
                break
            self.taken += piece
        if len(self.taken) == length or (self.stop_after is not None and self.status):
            request.send_response(self.status)
            request.end_headers()
            request.wfile.write(b"<html><body><h1>No</h1>  there is\n no room. </body></html>")
        self.ended.set()


class As:
    """The part of a Glance that uploads need."""

    verify = True

    def __init__(self, taker: Taker) -> None:
        self._url = f"http://127.0.0.1:{taker.server.server_port}/prefix/v2"
        self.forgotten = 0

    def url(self) -> str:
        return self._url

    def token(self) -> str:
        return "a-token"

    def forget_token(self) -> None:
        self.forgotten += 1


@pytest.fixture
def taker() -> Iterator[Taker]:
    made = Taker()
    yield made
    made.server.shutdown()
    made.server.server_close()


def upload(taker: Taker, length: int, backend: str | None = None, user: As | None = None) -> Upload:
    glance = cast("Glance", user or As(taker))
    return Upload(glance, Destination(IMAGE, length, backend, "req-1"), stall=5)


def sent(to: Upload, data: bytes, piece: int = MIB) -> None:
    for start in range(0, len(data), piece):
        to.write(start, memoryview(data)[start : start + piece])
    to.finish()


@pytest.mark.parametrize("length", [1, KEPT - 1, KEPT, KEPT + 1, MIB, 3 * MIB + 5])
def test_nothing_is_whole_before_it_may_be(taker: Taker, length: int) -> None:
    data = os.urandom(length)
    put = upload(taker, length)
    sent(put, data)
    assert len(taker.taken) <= max(0, length - KEPT)
    assert not taker.ended.is_set()
    put.complete()
    assert bytes(taker.taken) == data
    assert taker.path == f"/prefix/v2/images/{IMAGE}/file"


def test_holes_are_sent_as_zeros(taker: Taker) -> None:
    put = upload(taker, 4 * MIB)
    put.write(0, memoryview(b"x" * MIB))
    put.zeros(MIB, 3 * MIB)
    put.finish()
    put.complete()
    assert hashlib.sha256(taker.taken).digest() == hashlib.sha256(b"x" * MIB + bytes(3 * MIB)).digest()


def test_the_length_is_said_before(taker: Taker) -> None:
    put = upload(taker, 10, backend="fast")
    sent(put, b"0123456789")
    put.complete()
    said = {
        name: taker.headers.get(name) for name in ("content-length", "x-openstack-image-size", "x-image-meta-store")
    }
    assert said == {"content-length": "10", "x-openstack-image-size": "10", "x-image-meta-store": "fast"}
    assert taker.headers["x-auth-token"] == "a-token"
    assert "transfer-encoding" not in taker.headers


def test_an_aborted_upload_is_no_image(taker: Taker) -> None:
    put = upload(taker, 2 * MIB)
    sent(put, bytes(2 * MIB))
    put.abort()
    assert taker.ended.wait(5)
    assert len(taker.taken) == 2 * MIB - KEPT


def refused(taker: Taker, send: Callable[[], object]) -> StillframeError:
    with pytest.raises(StillframeError) as caught:
        send()
    return caught.value


@pytest.mark.parametrize("status", [401, 404, 409, 410, 500, 503])
def test_what_may_pass_is_a_cut(taker: Taker, status: int) -> None:
    taker.stop_after, taker.status = MIB, status
    user = As(taker)
    put = upload(taker, 64 * MIB, user=user)
    error = refused(taker, lambda: sent(put, bytes(64 * MIB)))
    assert isinstance(error, UploadCutOff)
    assert user.forgotten == (status == 401)


def test_an_answer_in_mid_flight_is_heard(taker: Taker) -> None:
    taker.stop_after, taker.status = MIB, 413
    put = upload(taker, 64 * MIB)
    put.write(0, memoryview(bytes(MIB)))
    assert taker.ended.wait(5)
    error = refused(taker, lambda: sent(put, bytes(63 * MIB)))
    assert isinstance(error, ImageQuotaExceeded)
    assert "there is no room" in error.fault.message


@pytest.mark.parametrize(
    "body",
    [
        r'{"message": "It is full<br /><br />\n\n", "code": "413", "title": "Too large"}',
        "<html><head><title>413</title></head><body><h1>413</h1>\n It is full<br /><br />\n</body></html>",
        "It is full",
    ],
)
def test_what_glance_says_is_found_in_whatever_it_answers(body: str) -> None:
    assert words(body) == "It is full"


def test_a_refusal_at_the_very_end(taker: Taker) -> None:
    taker.status = 413
    put = upload(taker, 100)
    sent(put, bytes(100))
    assert isinstance(refused(taker, put.complete), ImageQuotaExceeded)


def test_a_connection_that_ends_tells_where(taker: Taker) -> None:
    taker.stop_after, taker.status = 2 * MIB, 0
    put = upload(taker, 64 * MIB)
    error = refused(taker, lambda: sent(put, bytes(64 * MIB)))
    assert isinstance(error, UploadCutOff)
    assert 2 * MIB <= error.values["offset"] < 64 * MIB


def test_nobody_listens(taker: Taker) -> None:
    taker.server.shutdown()
    taker.server.server_close()
    assert isinstance(refused(taker, lambda: upload(taker, 10)), UploadCutOff)
