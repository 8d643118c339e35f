"""oslo.messaging over RabbitMQ: calls, casts and servers that never keep anybody waiting beyond a deadline."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

from oslo_config import cfg

from stillframe import background
from stillframe.errors.service import ConfigInvalid, ControllerUnreachable

with warnings.catch_warnings():  # eventlet, which comes with the library and is not used, says that it is deprecated
    warnings.simplefilter("ignore")
    import oslo_messaging
    from kombu.exceptions import KombuError
    from oslo_messaging._metrics.client import oslo_messaging_metrics
    from oslo_messaging._tracing.client import oslo_messaging_tracing

Target: TypeAlias = oslo_messaging.Target

T = TypeVar("T")

EXCHANGE = "stillframe"
RETRIES = 1  # a pooled connection may have died unnoticed: the one that is made then is tried once
STOP_SECONDS = 3.0
PLACES = 16  # calls under way at once


def notification_transport(url: str | None, conf: cfg.ConfigOpts) -> Any:
    """oslo.messaging's transport for notifications, which connects when it is first used; raises ConfigInvalid."""
    return _transport(oslo_messaging.get_notification_transport, url, conf)


class Within:
    """Asks RabbitMQ with a deadline of our own: the library waits for its first connection without one."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(PLACES)

    def seconds(self, seconds: float, ask: Callable[[], T]) -> T:
        """The answer; raises ControllerUnreachable. What has no answer by then goes on, and nobody waits for it."""
        deadline = time.monotonic() + seconds
        if not self._places.acquire(timeout=seconds):
            raise ControllerUnreachable(reason=f"{PLACES} calls before this one have no answer yet")
        asked = background.begin("bus", ask, self._places.release)
        try:
            return asked.result(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, oslo_messaging.MessagingTimeout) as error:
            raise ControllerUnreachable(reason=f"there was no answer within {seconds:g} seconds") from error
        except (oslo_messaging.MessageDeliveryFailure, KombuError, OSError) as error:
            raise ControllerUnreachable(reason="RabbitMQ cannot be reached", operator=str(error)) from error
        except oslo_messaging.MessagingException as error:
            raise ControllerUnreachable(reason="the call was not understood", operator=str(error)) from error

    def no_matter(self, do: Callable[[], object]) -> None:
        """Does what need not succeed, and waits for it a moment at most."""
        with suppress(Exception):
            background.begin("bus", do).result(STOP_SECONDS)


class Bus:
    """The calls of a process. A broker that is away raises ControllerUnreachable, at the latest at the deadline."""

    def __init__(self, transport_url: str | None, conf: cfg.ConfigOpts) -> None:
        """Connects when it is first used. `conf` has oslo.messaging's own options. Raises ConfigInvalid."""
        self._transport = _transport(oslo_messaging.get_rpc_transport, transport_url, conf)
        self._within = Within()

    def call(self, target: Target, method: str, arguments: dict[str, Any], seconds: float) -> Any:
        """The answer, or ControllerUnreachable."""
        client = self._client(target).prepare(timeout=seconds, retry=RETRIES)
        return self._within.seconds(seconds, lambda: client.call({}, method, **arguments))

    def cast(self, target: Target, method: str, seconds: float) -> None:
        """Sends, and waits for no answer; raises ControllerUnreachable."""
        client = self._client(target).prepare(retry=RETRIES)
        self._within.seconds(seconds, lambda: client.cast({}, method))

    def serve(self, target: Target, endpoint: object) -> Callable[[], None]:
        """Answers calls in threads of its own, as soon as there is a broker; what it returns ends it."""
        server = oslo_messaging.get_rpc_server(self._transport, target, [endpoint], executor="threading")
        background.begin("bus", server.start)

        def stop() -> None:
            server.stop()
            server.wait()

        return lambda: self._within.no_matter(stop)

    def close(self) -> None:
        """Lets go of the broker."""
        self._within.no_matter(self._transport.cleanup)

    def _client(self, target: Target) -> Any:
        return oslo_messaging.get_rpc_client(self._transport, target)


def _transport(make: Callable[..., Any], url: str | None, conf: cfg.ConfigOpts) -> Any:
    if not url:
        raise ConfigInvalid(reason="[messaging] transport_url is not set")
    # the library reads these from the options that it is given, but registers them with its own global ones only
    conf.register_opts(oslo_messaging_metrics, group="oslo_messaging_metrics")
    conf.register_opts(oslo_messaging_tracing, group="oslo_messaging_tracing")
    try:
        made = make(conf, url=url)
        hosts = oslo_messaging.TransportURL.parse(conf, url).hosts
    except (oslo_messaging.MessagingException, ValueError):
        # their words hold the password
        raise ConfigInvalid(reason="transport_url is not rabbit://USER:PASSWORD@HOST:PORT/VHOST") from None
    if any("/" in f"{host.username}{host.password}" for host in hosts):
        # the library would take what follows for the path, and say so with a part of the password
        raise ConfigInvalid(reason="transport_url has a slash in its user or password, which oslo.messaging cannot use")
    return made
