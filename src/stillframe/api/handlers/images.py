"""Images as Glance v2 serves them: list, show, file, delete, schemas."""

from __future__ import annotations

from itertools import islice
from urllib.parse import urlencode

import falcon

from stillframe.api.call import Answer, Call
from stillframe.api.deps import Deps
from stillframe.api.download import Downloads
from stillframe.api.image_query import image_query
from stillframe.api.images import Images
from stillframe.api.paging import Page, page_of
from stillframe.api.policy import NOBODYS, Policy
from stillframe.api.views import images as views
from stillframe.api.views.common import with_marker
from stillframe.errors.glance import ImagesInGlance
from stillframe.errors.request import BadRequest
from stillframe.images.directory import DirectoryStore
from stillframe.model import Image


class ImageHandlers:
    """GET /images, /images/{image_id}, /images/{image_id}/file; DELETE /images/{image_id}"""

    def __init__(self, deps: Deps, store: DirectoryStore, policy: Policy) -> None:
        self._images = Images(store, deps.captures)
        self._store = store
        self._captures = deps.captures
        self._policy = policy
        self._most = deps.settings.api.max_limit
        self._downloads = Downloads(deps.settings.api.threads // 2)

    def index(self, call: Call) -> Answer:
        """What the project sees: published images and those still being made."""
        self._policy.require(call.caller, "get_images")
        query, page = image_query(call), page_of(call, self._most)
        found = query.apply(map(views.full, self._images.all(self._policy.scope(call.caller))))
        if page.marker is not None and not any(image["id"] == page.marker for image in found):
            raise BadRequest(reason=f"Marker {page.marker[:100]} could not be found.")
        return Answer(_listed(call, page, list(islice(found, page.limit))))

    def show(self, call: Call, image_id: str) -> Answer:
        """One image."""
        return Answer(views.full(self._visible(call, image_id, "get_image")))

    def file(self, call: Call, image_id: str) -> Answer:
        """The bytes; 204 while there are none."""
        image = self._visible(call, image_id, "download_image")
        if image.status != "active":
            return Answer(status=204)
        path = self._store.data(image_id)
        size = path.stat().st_size
        first, length, status = _range(call.request, size)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length), "Accept-Ranges": "bytes"}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"
        return Answer(status=status, headers=headers, stream=self._downloads.open(path, first, length))

    def delete(self, call: Call, image_id: str) -> Answer:
        """Deletes a published image; cancels the capture of one that is being made."""
        image = self._visible(call, image_id, "get_image")
        self._policy.require(call.caller, "delete_image", image.owner or NOBODYS)
        scope = self._policy.scope(call.caller)
        if image.status == "active":
            self._store.delete(image_id)
        else:
            self._captures.cancel(self._captures.of_image(image_id, scope).id, scope)
        return Answer(status=204)

    def image_schema(self, _: Call) -> Answer:
        """GET /schemas/image"""
        return Answer(views.schema())

    def images_schema(self, _: Call) -> Answer:
        """GET /schemas/images"""
        return Answer(views.list_schema())

    def _visible(self, call: Call, image_id: str, rule: str) -> Image:
        self._policy.require(call.caller, rule)
        return self._images.get(image_id.lower(), self._policy.scope(call.caller))


def elsewhere(_call: Call, **_names: str) -> Answer:
    """Any of them where images are in Glance; raises ImagesInGlance."""
    raise ImagesInGlance


def _listed(call: Call, page: Page, images: list[views.View]) -> dict[str, object]:
    kept = [(name, value) for name, values in call.query.items() if name != "marker" for value in values]
    first = f"/v2/images?{urlencode(kept)}" if kept else "/v2/images"
    body: dict[str, object] = {"images": images, "first": first, "schema": "/v2/schemas/images"}
    if images and len(images) == page.limit:
        body["next"] = f"/v2/images?{with_marker(call.query, images[-1]['id'])}"
    return body


def _range(request: falcon.Request, size: int) -> tuple[int, int, int]:
    """First byte, length and status; raises 416 for a range that the file does not have."""
    asked = request.range if request.range_unit == "bytes" else None
    if asked is None:
        return 0, size, 200
    first, last = asked
    if first < 0:
        first, last = max(0, size + first), size - 1
    last = size - 1 if last < 0 else min(last, size - 1)
    if first > last or first >= size:
        raise falcon.HTTPRangeNotSatisfiable(size)
    return first, last - first + 1, 206
