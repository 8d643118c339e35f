"""What the tests of a cloud do and look at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import openstack
import requests

from lab import captures
from lab.domains import Guest
from lab.faulty import Plan
from lab.openstack.keystone import ADMIN, USERS, User
from lab.openstack.proxy import Proxy
from lab.openstack.stage import LOCATOR, Stage
from lab.service import Service
from lab.wait import until

ALICE, RITA, BOB, _ = USERS
SLOW = 6 << 20  # bytes a second: some seconds for the guest's disk


@dataclass(frozen=True)
class Scene:
    """Keystone, Glance behind a proxy, Stillframe and a guest of Alice's project."""

    stage: Stage
    proxy: Proxy
    service: Service
    guest: Guest
    plan: Plan  # of what breaks in the service

    def cloud(self, user: User = ALICE) -> Any:
        """An openstacksdk connection of a user's."""
        return self.stage.keystone.connect(user)

    def ask(self, user: User | None, method: str, path: str, body: Any = None, version: str = "2.84") -> Any:
        """A request to Stillframe over HTTP; None: without a token."""
        headers = {"OpenStack-API-Version": f"compute {version}"}
        if user is not None:
            headers["X-Auth-Token"] = self.cloud(user).session.get_token()
        url = f"http://127.0.0.1:{self.stage.port}{path}"
        return requests.request(method, url, json=body, headers=headers, timeout=30)

    def create(self, user: User = ALICE, name: str = "golden", version: str = "2.45", **metadata: str) -> Any:
        """createImage of the guest."""
        body = {"createImage": {"name": name, "metadata": metadata}}
        return self.ask(user, "POST", f"/v2.1/servers/{self.guest.id}/action", body, version)

    def begin(self, user: User = ALICE, **wishes: Any) -> str:
        """A capture with wishes; its id."""
        body = {"capture": {"server_id": self.guest.id, "name": "golden", **wishes}}
        answer = self.ask(user, "POST", "/v2.1/captures", body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["capture"]["id"])

    def image(self, image_id: str, user: User = ADMIN) -> Any:
        """The image in Glance, or None."""
        return self.cloud(user).image.find_image(image_id, ignore_missing=True)

    def images(self) -> list[Any]:
        """All that Glance has, finished or not."""
        return list(self.cloud(ADMIN).image.images(visibility="all"))

    def only(self, *names: str) -> None:
        """Waits until these are all the images of Glance."""
        until(lambda: sorted(image.name for image in self.images()) == sorted(names), 30, f"only {names}", pause=0.5)

    def locations(self, image_id: str) -> list[str]:
        """Where its bytes are, as Glance tells its services."""
        answer = self.stage.keystone.connect(LOCATOR).image.get(f"/images/{image_id}/locations")
        assert answer.status_code == 200, answer.text
        return [each["url"] for each in answer.json()]

    def deleted(self, image_id: str) -> None:
        """Deletes an image as its user; one that is just in use is tried again."""

        def tried() -> bool:
            try:
                self.cloud().image.delete_image(image_id)
            except openstack.exceptions.ConflictException:
                return False
            return True

        until(tried, 60, f"image {image_id} to be deleted", pause=0.5)

    def gone(self, image_id: str, deadline: float = 20) -> None:
        """Waits until Glance has it no more."""
        until(lambda: self.image(image_id) is None, deadline, f"image {image_id} to be deleted", pause=0.3)

    def sha512(self, image_id: str) -> str:
        """Of the bytes that Glance gives."""
        data = self.cloud(ADMIN).image.download_image(image_id, stream=True)
        digest = hashlib.sha512()
        for piece in data.iter_content(1 << 20):
            digest.update(piece)
        return digest.hexdigest()

    def whole(self, capture_id: str) -> Any:
        """The image of a capture that ended well by an upload, its bytes compared with what both sides say."""
        shown = captures.completed(self.service, capture_id)
        image = self.image(capture_id)
        assert (image.status, shown["transfer"]) == ("active", "upload")
        assert image.hash_value == self.sha512(capture_id)
        return image

    def at_rest(self) -> bool:
        """Whether nothing is being captured."""
        shown = self.service.get("/v2.1/captures?status=pending,running,publishing").body["captures"]
        return not shown
