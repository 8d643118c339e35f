from __future__ import annotations

import threading
from dataclasses import replace

from stillframe.config import Controller
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.model import CaptureStatus, Phase
from tests.unit.controller.scene import Bells, ended, instance, inventory, report, request, told


class Queue:
    """A host with instances of several projects, and captures of them in the order of their projects' names."""

    def __init__(self, db: Database, options: Controller, projects: str, host: str = "one") -> None:
        self.host = host
        self.endpoint = ControllerEndpoint(db, options)
        self.captures = Captures(db, Bells())
        machines = [instance(f"{name}{number}", project_id=name) for number, name in enumerate(projects)]
        self.endpoint.heartbeat(inventory(*machines, host=host))
        self.accepted = [self.captures.accept(request(machine, project=None)).id for machine in machines]
        self.names = {
            id_: f"{name}{projects[:at].count(name)}"
            for at, (id_, name) in enumerate(zip(self.accepted, projects, strict=True))
        }

    def ordered(self) -> list[str]:
        """What the host is told of, by project and number within it."""
        return [self.names[order.capture_id] for order in told(self.endpoint, host=self.host).orders]

    def finish(self, name: str) -> list[str]:
        """The capture goes its way; what the host is told of then."""
        id_ = next(id_ for id_, known in self.names.items() if known == name)
        token = self.endpoint.begin(id_, self.host, "run-1")
        told(self.endpoint, report(id_, token, Phase.TRANSFERRING), host=self.host)
        self.endpoint.commit(id_, token)
        orders = told(self.endpoint, ended(id_, token), host=self.host).orders
        return [self.names[order.capture_id] for order in orders]


def test_projects_take_turns_and_the_oldest_of_each_comes_first(db: Database, settings: Controller) -> None:
    assert Queue(db, settings, "aaaabbc").ordered() == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_a_project_that_comes_late_does_not_wait_for_all_of_another(db: Database, settings: Controller) -> None:
    queue = Queue(db, replace(settings, max_captures_per_host=1), "aaab")
    turns = [queue.ordered()]
    while turns[-1]:
        turns.append(queue.finish(*turns[-1]))
    assert turns == [["a0"], ["b0"], ["a1"], ["a2"], []]


def test_beyond_the_hosts_limit_captures_wait_as_pending(db: Database, settings: Controller) -> None:
    queue = Queue(db, replace(settings, max_captures_per_host=2), "abab")
    assert queue.ordered() == ["a0", "b0"]
    assert queue.ordered() == ["a0", "b0"]
    assert queue.captures.counts()[CaptureStatus.PENDING] == 4
    assert queue.finish("b0") == ["a0", "a1"]


def test_a_cancelled_capture_gives_its_place_to_the_next(db: Database, settings: Controller) -> None:
    queue = Queue(db, replace(settings, max_captures_per_host=1), "ab")
    assert queue.ordered() == ["a0"]
    queue.captures.cancel(queue.accepted[0], None)
    assert queue.ordered() == ["b0"]


def test_a_projects_limit_holds_over_all_hosts(db: Database, settings: Controller) -> None:
    limits = replace(settings, max_captures_per_project=2)
    one, two = Queue(db, limits, "aab", "one"), Queue(db, limits, "aa", "two")
    assert one.ordered() == ["a0", "b0", "a1"]
    assert two.ordered() == []
    one.finish("a0")
    assert two.ordered() == ["a0"]
    assert one.ordered() == ["b0", "a1"]


def test_hosts_that_ask_at_once_do_not_exceed_a_projects_limit(db: Database, settings: Controller) -> None:
    limits = replace(settings, max_captures_per_project=3)
    queues = [Queue(db, limits, "aa", f"host-{number}") for number in range(6)]
    barrier = threading.Barrier(len(queues))
    orders: list[str] = []

    def ask(queue: Queue) -> None:
        barrier.wait(30)
        orders.extend(queue.ordered())

    threads = [threading.Thread(target=ask, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(orders) == 3


def test_a_waiting_capture_follows_its_instance_to_another_host(db: Database, settings: Controller) -> None:
    web = instance()
    endpoint, captures = ControllerEndpoint(db, settings), Captures(db, Bells())
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    assert [order.capture_id for order in told(endpoint).orders] == [id_]
    endpoint.heartbeat(inventory())
    orders = endpoint.heartbeat(inventory(web, host="two")).orders
    assert [order.capture_id for order in orders] == [id_]
    assert told(endpoint).orders == ()
    assert captures.get(id_, None).host == "two"
