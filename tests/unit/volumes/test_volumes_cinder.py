from __future__ import annotations

import json
from typing import Any

import pytest

from stillframe.model import RbdPlace
from stillframe.volumes import cinder


@pytest.mark.parametrize(
    ("status", "code", "answered"),
    [(413, "volume-quota-exceeded", 403), (403, "volume-forbidden", 403), (404, "volume-refused", 409),
     (400, "volume-refused", 409), (503, "cinder-failed", 502)],
)  # fmt: skip
def test_each_answer_is_told_in_cinders_words(status: int, code: str, answered: int) -> None:
    body = json.dumps({"anyFault": {"code": status, "message": "Maximum number of snapshots allowed (1) exceeded."}})
    fault = cinder.refusal(status, body, "take a snapshot of volume v").fault
    assert (fault.code, fault.status) == (code, answered)
    assert "Maximum number of snapshots allowed (1) exceeded" in f"{fault.message}{fault.operator}"


def test_an_answer_that_is_no_fault_is_told_as_it_is() -> None:
    assert "<html> gone" in cinder.refusal(404, "<html>\n gone", "show it").fault.message


CONNECTION: dict[str, Any] = {
    "driver_volume_type": "rbd",
    "name": "volumes/volume-1",
    "hosts": ["192.0.2.1", "2001:db8::1"],
    "ports": ["6789", "6790"],
    "auth_username": "cinder",
    "secret_uuid": "s",
}


def test_where_an_attachment_leads() -> None:
    place = RbdPlace("volumes", "volume-1", ("192.0.2.1:6789", "[2001:db8::1]:6790"), "cinder", "s")
    assert cinder._place({"connection_info": CONNECTION}) == place


@pytest.mark.parametrize("info", [None, {}, CONNECTION | {"driver_volume_type": "iscsi"}])
def test_what_is_not_connected_or_not_on_rbd_has_no_place(info: dict[str, Any] | None) -> None:
    assert cinder._place({"connection_info": info}) is None
