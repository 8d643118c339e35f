"""Where the service is and who is asking: the local Unix socket, or what clouds.yaml and OS_* say.

The first of these that applies:
1. --socket, or --os-cloud
2. STILLFRAME_SOCKET
3. OS_CLOUD, or other OS_* variables that tell an endpoint or how to sign in
4. the socket of this machine's own service, where there is one
5. clouds.yaml, where there is one
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from stillframe.errors.base import StillframeError
from stillframe.errors.client import ServiceUnreachable
from stillframe.errors.request import NotSignedIn

if TYPE_CHECKING:  # keystoneauth and openstack take longer to import than most commands run
    from keystoneauth1.session import Session

CONFIG_FILE = Path("/etc/stillframe/stillframe.conf")
SOCKET = Path("/var/lib/stillframe/api.sock")
USER_AGENT = "stillframe"
SECONDS = 60.0  # for connecting, and between any two bytes of an answer, be it Keystone's or the service's

_OPENSTACK = ("OS_CLOUD", "OS_CLIENT_CONFIG_FILE", "OS_AUTH_URL", "OS_AUTH_TYPE", "OS_ENDPOINT")
_VERSION = re.compile(r"/v\d+(\.\d+)?(/[^/]*)?/*$")


@dataclass(frozen=True, slots=True)
class Place:
    """A session and the two endpoints, without version and trailing slash."""

    session: Session
    compute: str
    image: str
    name: str  # for messages


def find(socket: str | None, cloud: str | None, environment: Mapping[str, str]) -> Place:
    """The place that the options or the environment name; nothing is sent yet, unless Keystone must be asked."""
    if cloud:
        return openstack_place(cloud)
    if path := socket or environment.get("STILLFRAME_SOCKET"):
        return socket_place(Path(path))
    if any(environment.get(name) for name in _OPENSTACK):
        return openstack_place(None)
    local = local_socket()
    if not local.exists() and _clouds_file_exists():
        return openstack_place(None)
    return socket_place(local)


def local_socket() -> Path:
    """The socket of this machine's service, by its configuration file where it has one that may be read."""
    try:
        CONFIG_FILE.open("rb").close()
    except OSError:
        return SOCKET
    from stillframe import config  # noqa: PLC0415  (oslo.config is slow to import)

    return config.load(files=[CONFIG_FILE]).api.socket


def socket_place(path: Path) -> Place:
    """The service behind a Unix socket; the kernel tells it who is asking."""
    import requests_unixsocket  # noqa: PLC0415
    from keystoneauth1.session import Session  # noqa: PLC0415

    root = f"http+unix://{quote(str(path.absolute()), safe='')}"
    session = Session(session=requests_unixsocket.Session(), user_agent=USER_AGENT, timeout=SECONDS)
    return Place(session, compute=root, image=f"{root}/image", name=str(path))


def openstack_place(cloud: str | None) -> Place:
    """What clouds.yaml and OS_* say, as for every OpenStack client; None: the default cloud."""
    import keystoneauth1.exceptions  # noqa: PLC0415
    import openstack.config  # noqa: PLC0415
    import openstack.exceptions  # noqa: PLC0415

    where = f"cloud {cloud}" if cloud else "the cloud that the environment names"
    try:
        region = openstack.config.OpenStackConfig(app_name=USER_AGENT).get_one(cloud=cloud)
        session = region.get_session()
        session.timeout = session.timeout or SECONDS
        compute, image = (region.get_session_endpoint(kind) for kind in ("compute", "image"))
    except keystoneauth1.exceptions.Unauthorized as error:
        raise NotSignedIn(operator=str(error)) from error
    except (openstack.exceptions.SDKException, keystoneauth1.exceptions.ClientException) as error:
        raise ServiceUnreachable(where=where, reason=str(error).rstrip(".")) from error
    if not compute or not image:
        raise _missing(where, "compute" if not compute else "image")
    return Place(session, unversioned(compute), unversioned(image), name=compute)


def unversioned(endpoint: str) -> str:
    """The endpoint without "/v2.1", "/v2.1/PROJECT" or "/v2" at its end."""
    return _VERSION.sub("", endpoint).rstrip("/")


def _missing(where: str, kind: str) -> StillframeError:
    return ServiceUnreachable(where=where, reason=f"it tells no {kind} endpoint (option {kind}_endpoint_override)")


def _clouds_file_exists() -> bool:
    folders = (Path.cwd(), Path.home() / ".config/openstack", Path("/etc/openstack"))
    return any((folder / f"clouds{suffix}").exists() for folder in folders for suffix in (".yaml", ".yml", ".json"))
