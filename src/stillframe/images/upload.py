"""The upload of one image's data into Glance: one PUT, whose last bytes are kept back until they may be sent."""

from __future__ import annotations

import http.client
import select
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from stillframe.datapath.reader import PIECE
from stillframe.errors.base import StillframeError
from stillframe.errors.glance import UploadCutOff
from stillframe.images.glance import Glance, refusal, words

KEPT: Final = 1 << 16  # bytes: Glance has no image without them, and they are sent in one go
ZEROS: Final = memoryview(bytes(1 << 20))

# Answers after which the same bytes may be taken: a token that has just expired, a record that another upload has in
# hand, a record or a store that is not there for the moment, and whatever is Glance's own fault.
PASSING = (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the bytes of an image go."""

    image_id: str
    length: int
    backend: str | None  # Glance's store; None: its default
    request_id: str


class Upload:
    """A sink (see stillframe.datapath.sink.Sink), and after that what is to be sent once it may: `complete`."""

    piece = PIECE

    def __init__(self, glance: Glance, to: Destination, stall: float) -> None:
        """Begins the request; `stall` in seconds, for each piece that is taken. Raises UploadCutOff."""
        self._glance = glance
        self._to = to
        self._sent = 0
        self._kept = bytearray()
        self._stall = stall
        url = urlsplit(f"{glance.url()}/images/{to.image_id}/file")
        self._connection = _connection(url.scheme, url.netloc, glance.verify, stall)
        try:
            self._begin(url.path)
        except OSError as error:
            self.abort()
            raise self._cut_off(error) from error

    # ------------------------------------------------------------------------------------------------- as a sink

    def write(self, offset: int, data: memoryview) -> None:
        """Raises UploadCutOff, or what Glance answers before it has all."""
        now = max(0, min(len(data), self._to.length - KEPT - offset))
        self._send(data[:now])
        self._kept += data[now:]

    def zeros(self, offset: int, length: int) -> None:
        """A stream has no holes."""
        while length:
            count = min(length, len(ZEROS))
            self.write(offset, ZEROS[:count])
            offset, length = offset + count, length - count

    def finish(self) -> None:
        """All but the last bytes are on their way."""

    def abort(self) -> None:
        """Glance notices that bytes are missing, and forgets the others."""
        self._connection.close()

    # --------------------------------------------------------------------------------------------- and after that

    def complete(self) -> None:
        """Sends the last bytes; returns once Glance has the image. Raises UploadCutOff, or what Glance answers."""
        self._send(memoryview(self._kept))
        try:
            answer = self._connection.getresponse()
            body = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise self._cut_off(error) from error
        finally:
            self._connection.close()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._refused(answer.status, body)

    # ------------------------------------------------------------------------------------------------ small things

    def _begin(self, path: str) -> None:
        put = self._connection
        put.putrequest("PUT", path, skip_accept_encoding=True)
        headers = {
            "X-Auth-Token": self._glance.token(),
            "Accept": "application/json",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self._to.length),
            "x-openstack-image-size": str(self._to.length),
            "X-OpenStack-Request-ID": self._to.request_id,
            **({"X-Image-Meta-Store": self._to.backend} if self._to.backend else {}),
        }
        for name, value in headers.items():
            put.putheader(name, value)
        put.endheaders()

    def _send(self, data: memoryview) -> None:
        if self._answered():
            raise self._answer() or self._cut_off(None)
        try:
            self._connection.send(data)
        except OSError as error:
            raise self._answer() or self._cut_off(error) from error
        self._sent += len(data)

    def _answered(self) -> bool:
        """Whether Glance says something already, which is never good. With TLS that cannot be told."""
        sock = self._connection.sock
        if sock is None or isinstance(sock, ssl.SSLSocket):
            return False
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

    def _answer(self) -> StillframeError | None:
        """What Glance said before it stopped listening; None where that cannot be had."""
        try:
            answer = self._connection.getresponse()
            return self._refused(answer.status, answer.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException):
            return None
        finally:
            self._connection.close()

    def _refused(self, status: int, body: str) -> StillframeError:
        if status == HTTPStatus.UNAUTHORIZED:
            self._glance.forget_token()
        if status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self._cut_off(f"Glance answered {status}: {words(body)}")
        return refusal(status, body, f"take the data of image {self._to.image_id}")

    def _cut_off(self, why: BaseException | str | None) -> UploadCutOff:
        if isinstance(why, TimeoutError):
            why = f"nothing was taken for {self._stall:g} seconds"
        elif isinstance(why, OSError):
            why = why.strerror or str(why)
        return UploadCutOff(
            image=self._to.image_id, offset=self._sent, size=self._to.length, reason=str(why or "the connection ended")
        )


def _connection(scheme: str, netloc: str, verify: bool | str, timeout: float) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(netloc, timeout=timeout)
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(netloc, timeout=timeout, context=context)
