"""The version documents, by which clients find their way."""

from __future__ import annotations

from typing import Any

from stillframe.api.call import LOWEST, Version

_LEGACY = {"id": "v2.0", "status": "DEPRECATED", "version": "", "min_version": "", "updated": "2025-07-04T12:00:00Z"}
_CURRENT = {"id": "v2.1", "status": "CURRENT", "min_version": str(LOWEST), "updated": "2013-07-23T11:33:21Z"}
_PATHS = {"v2.0": "v2", "v2.1": "v2.1"}
_MEDIA = {"v2.0": "2", "v2.1": "2.1"}

IMAGE_MINORS = (*range(10), 17)  # as Glance without several stores and without a cache


def compute(base: str, highest: Version) -> dict[str, Any]:
    """GET /: both versions of the compute API."""
    return {"versions": [version | {"links": [_self(base, version["id"])]} for version in _compute(highest)]}


def compute_version(base: str, identifier: str, highest: Version) -> dict[str, Any]:
    """GET /v2.1/ and GET /v2/."""
    version = next(version for version in _compute(highest) if version["id"] == identifier)
    described = {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"}
    media = f"application/vnd.openstack.compute+json;version={_MEDIA[identifier]}"
    return {
        "version": version
        | {
            "links": [_self(base, identifier), described],
            "media-types": [{"base": "application/json", "type": media}],
        }
    }


def image(base: str) -> dict[str, Any]:
    """GET /image/: the versions of the image API, newest first."""
    link = {"rel": "self", "href": f"{base}/image/v2/"}
    newest = max(IMAGE_MINORS)
    return {
        "versions": [
            {"id": f"v2.{minor}", "status": "CURRENT" if minor == newest else "SUPPORTED", "links": [link]}
            for minor in sorted(IMAGE_MINORS, reverse=True)
        ]
    }


def _compute(highest: Version) -> tuple[dict[str, str], ...]:
    return _LEGACY, _CURRENT | {"version": str(highest)}


def _self(base: str, identifier: str) -> dict[str, str]:
    return {"rel": "self", "href": f"{base}/{_PATHS[identifier]}/"}
