"""The query of a list of servers, turned into filters and an order that the controller knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from oslo_utils.strutils import bool_from_string

from stillframe.api.call import Call
from stillframe.api.schemas import Query
from stillframe.api.views.servers import STATUS
from stillframe.controller.servers import NEWEST_FIRST, ServerFilters, Sort, SortKey
from stillframe.errors.request import BadRequest, Forbidden
from stillframe.model import PowerState, TaskState, VmState

E = TypeVar("E", PowerState, TaskState, VmState)

PAGING = ("limit", "marker", "sort_key", "sort_dir")
TABLES = (
    "block_device_mapping",
    "services",
    "metadata",
    "system_metadata",
    "info_cache",
    "security_groups",
    "pci_devices",
)
TAGS = ("tags", "tags-any", "not-tags", "not-tags-any")
ANYBODY = ("reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants")
ANYBODY_SINCE: tuple[tuple[tuple[int, int], tuple[str, ...]], ...] = (
    ((2, 5), ("ip6",)),
    ((2, 26), TAGS),
    ((2, 66), ("changes-before",)),
    ((2, 73), ("locked",)),
    ((2, 83), ("availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at")),
    ((2, 83), ("power_state", "task_state", "vm_state", "progress", "user_id")),
    ((2, 90), ("hostname",)),
)
ADMINISTRATORS = (
    *("user_id", "project_id", "tenant_id", "launch_index", "image_ref", "kernel_id", "ramdisk_id", "hostname", "host"),
    *("key_name", "power_state", "vm_state", "task_state", "node", "launched_at", "terminated_at", "display_name"),
    *("availability_zone", "description", "display_description", "locked_by", "uuid", "root_device_name", "progress"),
    *("config_drive", "access_ip_v4", "access_ip_v6", "auto_disk_config", "soft_deleted", "deleted", "created_at"),
)
STRICT_SINCE = (2, 75)  # strangers are refused from here on
BAD_STATUS_SINCE = (2, 38)

SORTS = {
    "created_at": SortKey.CREATED_AT,
    "updated_at": SortKey.UPDATED_AT,
    "display_name": SortKey.NAME,
    "uuid": SortKey.ID,
    "host": SortKey.HOST,
    "vm_state": SortKey.VM_STATE,
    "power_state": SortKey.POWER_STATE,
}
SAME_FOR_ALL = frozenset(  # Nova sorts by them too; here they have one value, or none
    (
        *(
            "access_ip_v4",
            "access_ip_v6",
            "auto_disk_config",
            "availability_zone",
            "config_drive",
            "display_description",
        ),
        *(
            "hostname",
            "image_ref",
            "instance_type_id",
            "kernel_id",
            "key_name",
            "launch_index",
            "launched_at",
            "locked",
        ),
        *("locked_by", "node", "progress", "project_id", "ramdisk_id", "root_device_name", "task_state"),
        *("terminated_at", "user_id"),
    )
)


@dataclass(frozen=True, slots=True)
class ServerQuery:
    """What a list of servers is to hold; `nothing` when no server can match."""

    filters: ServerFilters
    sort: tuple[Sort, ...]
    all_projects: bool
    project: str | None  # of all projects only this one
    nothing: bool = False


def server_query(call: Call, *, administrator: bool) -> ServerQuery:
    """Reads the query; filters that the caller may not use are ignored, as in Nova. Raises BadRequest, Forbidden."""
    given = _permitted(call, administrator=administrator)
    all_projects = _flag(given, "all_tenants", empty=True)
    states = _vm_states(call, given)
    return ServerQuery(
        filters=ServerFilters(
            name=_last(given, "name") or _last(given, "display_name"),
            ids=tuple(given["uuid"]) if "uuid" in given else None,
            vm_states=states,
            power_states=_numbers(given),
            task_states=_members(TaskState, given.get("task_state")),
            host=_last(given, "host"),
            user_id=_last(given, "user_id"),
            base_image_id=_last(given, "image") or _last(given, "image_ref"),
            flavor=_last(given, "flavor"),
            changed_since=_time(given, "changes-since"),
            changed_before=_time(given, "changes-before"),
        ),
        sort=_sort(call, administrator=administrator),
        all_projects=all_projects,
        project=_last(given, "project_id") or _last(given, "tenant_id") if all_projects else None,
        nothing=states == () or _matches_nothing(given),
    )


def _permitted(call: Call, *, administrator: bool) -> dict[str, list[str]]:
    """The parameters that count for this caller at this version."""
    anybody = [*ANYBODY, *(name for since, names in ANYBODY_SINCE if call.version >= since for name in names)]
    if call.version >= STRICT_SINCE:
        Query(*anybody, *ADMINISTRATORS, *PAGING, *TABLES).check(call.query)
    for name in call.query:
        if administrator and (name in TABLES or name.startswith("_")):
            raise BadRequest(reason=f"Invalid filter field: {name}.")
    allowed = {*anybody, *ADMINISTRATORS} if administrator else set(anybody)
    return {name: values for name, values in call.query.items() if name in allowed}


def _vm_states(call: Call, given: dict[str, list[str]]) -> tuple[VmState, ...] | None:
    """By status, which anybody may give, else by vm_state; () when nothing can match."""
    if "status" not in given:
        return _members(VmState, given.get("vm_state"))
    wanted = {value.upper() for value in given["status"]}
    states = tuple(state for state, status in STATUS.items() if status in wanted)
    if not states and call.version >= BAD_STATUS_SINCE and not wanted & _OTHER_STATUSES:
        raise BadRequest(reason="Invalid status value")
    return states


_OTHER_STATUSES = frozenset(  # of Nova's; no server here ever has them
    (
        *("BUILD", "DELETED", "HARD_REBOOT", "MIGRATING", "PASSWORD", "REBOOT", "REBUILD", "RESCUE", "RESIZE"),
        *("REVERT_RESIZE", "SHELVED", "SHELVED_OFFLOADED", "SOFT_DELETED", "VERIFY_RESIZE"),
    )
)


def _matches_nothing(given: dict[str, list[str]]) -> bool:
    """Filters for what no server here has: tags, key pairs, locks, deletion."""
    empty = any(_last(given, name) for name in ("tags", "tags-any", "key_name", "locked_by", "reservation_id"))
    return empty or _flag(given, "deleted") or _flag(given, "soft_deleted") or _flag(given, "locked")


def _members(kind: type[E], values: list[str] | None) -> tuple[E, ...] | None:
    """Those of the values that the enumeration has; None when no value was given."""
    if values is None:
        return None
    return tuple(member for member in kind if str(member.value) in values)


def _numbers(given: dict[str, list[str]]) -> tuple[PowerState, ...] | None:
    return _members(PowerState, given.get("power_state"))


def _last(given: dict[str, list[str]], name: str) -> str | None:
    return given[name][-1] or None if name in given else None


def _flag(given: dict[str, list[str]], name: str, *, empty: bool = False) -> bool:
    """A boolean parameter; `empty` is what one without a value means."""
    if name not in given:
        return False
    text = given[name][-1]
    try:
        return empty if text == "" else bool(bool_from_string(text, strict=name == "all_tenants"))
    except ValueError as error:
        raise BadRequest(reason=str(error)) from error


def _time(given: dict[str, list[str]], name: str) -> datetime | None:
    text = _last(given, name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(
            reason=f"Invalid input for query parameters {name}. Value: {text[:100]}. It is not a 'date-time'"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _sort(call: Call, *, administrator: bool) -> tuple[Sort, ...]:
    """Nova's rule: as many directions as keys, missing ones as the first; newest first decides between equals."""
    keys = [key.strip() for key in call.query.get("sort_key", [])]
    directions = [direction.strip() for direction in call.query.get("sort_dir", [])]
    wrong = next((direction for direction in directions if direction not in ("asc", "desc")), None)
    if wrong is not None:
        raise BadRequest(reason="Unknown sort direction, must be 'desc' or 'asc'")
    default = directions[0] if directions else "desc"
    if not keys and directions:
        keys = ["created_at"]
    found: list[Sort] = []
    for key, direction in zip(keys, [*directions, *[default] * len(keys)], strict=False):
        if key == "host" and not administrator:
            raise Forbidden(rule="sorting servers by host")
        if key in SORTS:
            found.append(Sort(SORTS[key], descending=direction == "desc"))
        elif key not in SAME_FOR_ALL:
            raise BadRequest(reason=f"Invalid input for query parameters sort_key. Value: {key[:100]}.")
    return _completed(found, descending=default == "desc")


def _completed(found: Iterable[Sort], *, descending: bool) -> tuple[Sort, ...]:
    """With the keys that make the order total."""
    order = list(found)
    if not order:
        return NEWEST_FIRST
    known = {sort.key for sort in order}
    order += [Sort(sort.key, descending=descending) for sort in NEWEST_FIRST if sort.key not in known]
    return tuple(order)
