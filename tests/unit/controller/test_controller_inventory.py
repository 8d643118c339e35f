from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from stillframe.config import Controller
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.reconcile import Reconciler
from stillframe.controller.servers import NEWEST_FIRST, ServerFilters, Servers, Sort, SortKey
from stillframe.errors.request import BadRequest, InstanceNotFound
from stillframe.messaging.contract import HostReport
from stillframe.model import PowerState, TaskState, VmState, now
from tests.unit.controller.scene import Bells, instance, inventory, request


def test_a_reported_instance_is_a_server_and_follows_its_reports(
    servers: Servers, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    first = servers.get(web.id, "blue")
    stopped = replace(web, vm_state=VmState.STOPPED, power_state=PowerState.SHUTDOWN, run=None)
    endpoint.heartbeat(inventory(stopped))
    second = servers.get(web.id, "blue")
    assert (first.instance, first.host) == (web, "one")
    assert (second.instance, second.created_at) == (stopped, first.created_at)
    assert second.updated_at > first.updated_at
    endpoint.heartbeat(inventory(stopped))
    assert servers.get(web.id, "blue") == second


def test_servers_are_their_projects_and_all_of_them_the_administrators(
    servers: Servers, endpoint: ControllerEndpoint
) -> None:
    blue, red, unowned = instance(), instance(project_id="red"), instance(project_id=None)
    endpoint.heartbeat(inventory(blue, red, unowned))
    assert {server.instance.id for server in servers.list()} == {blue.id, red.id, unowned.id}
    assert [server.instance for server in servers.list(project="red")] == [red]
    with pytest.raises(InstanceNotFound):
        servers.get(unowned.id, "blue")


def test_an_instance_that_vanishes_and_comes_back_is_the_same(
    servers: Servers, endpoint: ControllerEndpoint, db: Database, settings: Controller
) -> None:
    web, clock = instance(), [0.0]
    reconciler = Reconciler(db, settings, Bells(), lambda: clock[0])
    endpoint.heartbeat(inventory(web))
    before = servers.get(web.id, None)
    endpoint.heartbeat(inventory())
    reconciler.run_once(now())
    clock[0] = settings.gone_grace - 1
    assert reconciler.run_once(now()).instances_gone == ()
    endpoint.heartbeat(inventory(web))
    clock[0] = settings.gone_grace + 1
    assert reconciler.run_once(now()).instances_gone == ()
    assert servers.get(web.id, None).created_at == before.created_at


def test_a_hypervisor_that_cannot_be_asked_is_not_an_empty_one(
    servers: Servers, endpoint: ControllerEndpoint, db: Database, settings: Controller
) -> None:
    web, clock = instance(), [0.0]
    reconciler = Reconciler(db, settings, Bells(), lambda: clock[0])
    endpoint.heartbeat(inventory(web))
    for clock[0] in range(0, 1000, 50):
        endpoint.heartbeat(HostReport("one", "run-1", inventory_digest=None, inventory=()))
        assert reconciler.run_once(now()).instances_gone == ()
    assert servers.get(web.id, None).instance == web


def test_a_migration_moves_the_server_once_it_runs_on_the_other_host(
    servers: Servers, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    incoming = replace(web, vm_state=VmState.PAUSED, power_state=PowerState.PAUSED)
    endpoint.heartbeat(inventory(web))
    endpoint.heartbeat(inventory(incoming, host="two"))
    assert servers.get(web.id, None).host == "one"
    endpoint.heartbeat(inventory(incoming))
    endpoint.heartbeat(inventory(web, host="two"))
    assert servers.get(web.id, None).host == "two"
    endpoint.heartbeat(inventory())
    assert servers.get(web.id, None).instance == web


def test_an_instance_seen_on_a_second_host_is_asked_of_it_when_the_first_has_it_no_more(
    servers: Servers, endpoint: ControllerEndpoint, db: Database, settings: Controller
) -> None:
    web = instance(vm_state=VmState.STOPPED)
    there = inventory(web, host="two")
    endpoint.heartbeat(inventory(web))
    endpoint.heartbeat(there)
    assert endpoint.heartbeat(replace(there, inventory=None)).send_inventory is False
    endpoint.heartbeat(inventory())
    assert endpoint.heartbeat(replace(there, inventory=None)).send_inventory is True
    endpoint.heartbeat(there)
    assert servers.get(web.id, None).host == "two"
    settings_now = replace(settings, gone_grace=0)
    assert Reconciler(db, settings_now, Bells()).run_once(now()).instances_gone == ()


def test_a_lost_hosts_instances_go_to_the_host_that_reports_them_as_well(
    servers: Servers, endpoint: ControllerEndpoint, db: Database, settings: Controller
) -> None:
    web, clock = instance(), [0.0]
    reconciler = Reconciler(db, settings, Bells(), lambda: clock[0])
    there = inventory(web, host="renamed", run="run-2")
    endpoint.heartbeat(inventory(web))
    endpoint.heartbeat(there)
    assert servers.get(web.id, None).host == "one"
    reconciler.run_once(now())
    clock[0] = settings.host_timeout
    assert endpoint.heartbeat(replace(there, inventory=None)).send_inventory is False
    assert reconciler.run_once(now()).hosts_lost == ("one",)
    assert endpoint.heartbeat(replace(there, inventory=None)).send_inventory is True
    endpoint.heartbeat(there)
    assert servers.get(web.id, None).host == "renamed"


def test_a_server_being_captured_keeps_its_task_state_through_reports(
    servers: Servers, captures: Captures, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    captures.accept(request(web))
    endpoint.heartbeat(inventory(replace(web, name="renamed")))
    server = servers.get(web.id, None)
    assert (server.instance.name, server.task_state) == ("renamed", TaskState.IMAGE_SNAPSHOT_PENDING)


def test_servers_are_filtered(servers: Servers, captures: Captures, endpoint: ControllerEndpoint) -> None:
    web = instance("web", flavor="small", base_image_id="base", user_id="ann")
    mail = instance("mail", vm_state=VmState.STOPPED, power_state=PowerState.SHUTDOWN)
    endpoint.heartbeat(inventory(web, mail))
    captures.accept(request(web))

    def names(**filters: object) -> set[str]:
        return {server.instance.name for server in servers.list(ServerFilters(**filters))}  # type: ignore[arg-type]

    assert names(name="^WEB$") == {"web"}
    assert names(ids=(mail.id,)) == {"mail"}
    assert names(ids=()) == set()
    assert names(vm_states=(VmState.STOPPED,)) == {"mail"}
    assert names(power_states=(PowerState.RUNNING,)) == {"web"}
    assert names(task_states=(TaskState.IMAGE_SNAPSHOT_PENDING,)) == {"web"}
    assert names(task_states=(None,)) == {"mail"}
    assert names(task_states=(None, TaskState.IMAGE_SNAPSHOT_PENDING)) == {"web", "mail"}
    assert names(flavor="small", base_image_id="base", user_id="ann", host="one") == {"web"}
    assert names(host="two") == set()
    assert names(changed_since=now() - timedelta(hours=1)) == {"web", "mail"}
    assert names(changed_before=now() - timedelta(hours=1)) == set()


@pytest.mark.parametrize(
    "sort",
    [
        NEWEST_FIRST,
        (Sort(SortKey.NAME, descending=False),),
        (Sort(SortKey.VM_STATE), Sort(SortKey.NAME, descending=False)),
        (Sort(SortKey.POWER_STATE, descending=False), Sort(SortKey.CREATED_AT)),
    ],
)
def test_pages_miss_and_repeat_nothing_in_any_order(
    servers: Servers, endpoint: ControllerEndpoint, sort: tuple[Sort, ...]
) -> None:
    states = [VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED]
    machines = [instance(f"vm{number % 4}", vm_state=states[number % 3]) for number in range(25)]
    endpoint.heartbeat(inventory(*machines[:13]))
    endpoint.heartbeat(inventory(*machines))
    whole = [server.instance.id for server in servers.list(sort=sort)]
    paged: list[str] = []
    while page := servers.list(sort=sort, limit=4, marker=paged[-1] if paged else None):
        paged += [server.instance.id for server in page]
    assert paged == whole
    assert sorted(paged) == sorted(machine.id for machine in machines)


def test_a_marker_of_another_project_is_refused(servers: Servers, endpoint: ControllerEndpoint) -> None:
    red = instance(project_id="red")
    endpoint.heartbeat(inventory(red))
    with pytest.raises(BadRequest, match="marker"):
        servers.list(project="blue", marker=red.id)
