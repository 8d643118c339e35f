"""What asking for a capture has to do with the place that images go to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from stillframe.api.call import Call
from stillframe.api.deps import Deps
from stillframe.api.images import SHARED_WITH, visible
from stillframe.api.policy import Policy
from stillframe.api.properties import FIELDS
from stillframe.api.views.images import ATTRIBUTES
from stillframe.api.volumes import METADATA, Volumes, inherited
from stillframe.errors.glance import ImageForbidden, TokenNeeded
from stillframe.errors.request import ImageNotFound
from stillframe.images.directory import DirectoryStore
from stillframe.images.glance import Access, Glance
from stillframe.images.locations import backends
from stillframe.model import Capture, ImageRequest, Instance, RbdPlace

NOT_PROPERTIES = frozenset((*ATTRIBUTES, "locations", "direct_url", "stores"))  # of what Glance shows of an image


@dataclass(frozen=True, slots=True)
class Base:
    """What an image of an instance takes over from what its root disk was made from."""

    properties: Mapping[str, str] = field(default_factory=dict)  # min_disk and min_ram among them
    note: str = ""  # why there are none
    stores: tuple[str, ...] = ()  # names of Glance's stores; none: as the options say
    place: RbdPlace | None = None  # where Cinder says that the root volume is


class Imaging(Protocol):
    """The place that images go to."""

    reserves: bool  # whether images have records there before they are made

    def base(self, call: Call, instance: Instance) -> Base:
        """What the instance was made from."""

    def reserve(self, call: Call, capture: Capture) -> None:
        """Makes the records of its images. Raises what stands against it; some may be made then."""

    def url(self, call: Call, image_id: str) -> str:
        """Where clients find the image."""


def imaging(deps: Deps, policy: Policy, volumes: Volumes | None) -> Imaging:
    """By the options."""
    if deps.glance is not None:
        return InGlance(deps.glance, volumes)
    assert deps.store is not None  # noqa: S101 - one of the two
    return InDirectory(deps.store, policy)


class InDirectory:
    """Images that we serve ourselves; they have records once they are published."""

    reserves = False

    def __init__(self, store: DirectoryStore, policy: Policy) -> None:
        self._store = store
        self._policy = policy

    def base(self, call: Call, instance: Instance) -> Base:
        """See Imaging. Both the caller and the instance's owner must see the base image."""
        try:
            image = self._store.get(instance.base_image_id or "")
        except ImageNotFound:
            return Base()
        if not (visible(image, self._policy.scope(call.caller)) and visible(image, instance.project_id)):
            return Base()
        fields = {"min_disk": image.min_disk, "min_ram": image.min_ram}
        return Base(image.properties | {name: str(value) for name, value in fields.items() if value})

    def reserve(self, call: Call, capture: Capture) -> None:
        """See Imaging."""

    def url(self, call: Call, image_id: str) -> str:
        """See Imaging."""
        return f"{call.base}/image/v2/images/{image_id}"


class InGlance:
    """Images of Glance, asked for with the caller's own token: what he may not do there, he may not do here."""

    reserves = True

    def __init__(self, access: Access, volumes: Volumes | None) -> None:
        self._access = access
        self._volumes = volumes

    def base(self, call: Call, instance: Instance) -> Base:
        """See Imaging."""
        if instance.root_volume is not None:
            return self._of_volume(call, instance)
        if instance.base_image_id is None:
            return Base()
        try:
            shown = self._glance(call).get(instance.base_image_id)
        except (ImageNotFound, ImageForbidden) as error:
            return Base(note=f"nothing is inherited from the base image: {error.fault.message}")
        properties = {name: value for name, value in shown.items() if isinstance(value, str)}
        properties = {name: value for name, value in properties.items() if name not in NOT_PROPERTIES}
        return Base(properties | {name: str(shown[name]) for name in FIELDS if shown.get(name)})

    def _of_volume(self, call: Call, instance: Instance) -> Base:
        """Cinder keeps what it knows of the image that a volume was made from."""
        if self._volumes is None:
            return Base()
        shown, note = self._volumes.shown(call, instance)
        place, other = self._volumes.place(call, instance)
        stores = backends(shown.get(METADATA) or {}, ())
        return Base(inherited(shown), "; ".join(filter(None, (note, other))), stores, place)

    def reserve(self, call: Call, capture: Capture) -> None:
        """See Imaging."""
        glance = self._glance(call)
        for image in capture.images:
            glance.create(_record(image))
            if SHARED_WITH in image.properties:
                glance.share(image.id, image.properties[SHARED_WITH])

    def url(self, call: Call, image_id: str) -> str:
        """See Imaging."""
        return f"{self._glance(call).url(interface='public')}/images/{image_id}"

    def _glance(self, call: Call) -> Glance:
        if call.caller.auth is None:
            raise TokenNeeded
        return self._access.as_user(call.caller.auth, call.request_id)


def _record(image: ImageRequest) -> dict[str, Any]:
    """As Glance takes it. Its formats come with the data."""
    properties: dict[str, Any] = dict(image.properties)
    fields = {name: int(properties.pop(name, 0)) for name in FIELDS}
    visibility = "shared" if SHARED_WITH in properties else "private"
    return {**properties, **fields, "id": image.id, "name": image.name, "visibility": visibility}
