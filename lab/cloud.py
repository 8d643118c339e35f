"""A cloud on this machine: RabbitMQ, apis, controllers, and agents with a libvirtd each; each can be killed.

An agent is asked through the cloud's API, so what takes a service (lab.captures) takes an agent as well.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.faulty import Plan
from lab.libvirtd import PrivateLibvirtd
from lab.rabbitmq import RabbitMq
from lab.service import STILLFRAME, Options, Service
from lab.tools import ROOT

READY = "INFO stillframe.services.process: ready"


class Part(Service):
    """One service of the cloud, as a process; `within`: the words before its command that put it somewhere else."""

    name = ""
    within: Sequence[str] = ()

    def command(self) -> Sequence[str | Path]:
        """See Service."""
        return (*self.within, STILLFRAME.with_name(f"stillframe-{self.name}"))

    def launch(self) -> subprocess.Popen[bytes]:
        """See Service."""
        self._logged = len(self.log())
        return super().launch()

    def answers(self) -> bool:
        """See Service."""
        return READY in self.log()[self._logged :]


class Api(Part):
    """stillframe-api."""

    name = "api"


class GunicornApi(Api):
    """The same application in another WSGI server, two processes of it."""

    def __init__(self, directory: Path, host: PrivateLibvirtd | None, options: Options | None = None) -> None:
        super().__init__(directory, host, options)
        self.socket = directory / "gunicorn.sock"

    def command(self) -> Sequence[str | Path]:
        """The shell takes `--config-file FILE`, which follow, as its $0 and $1."""
        gunicorn = f"{STILLFRAME.with_name('gunicorn')} --workers 2 --threads 4 --bind unix:{self.socket}"
        return "sh", "-c", f'STILLFRAME_CONFIG="$1" exec {gunicorn} stillframe.wsgi.api:application'

    def answers(self) -> bool:
        """See Service."""
        return Service.answers(self)


class Controller(Part):
    """stillframe-controller."""

    name = "controller"


class Agent(Part):
    """stillframe-agent, for the domains of one libvirtd."""

    name = "agent"


class BreakableAgent(Agent):
    """One that breaks at its points as its plan says; see lab/faulty.py."""

    @property
    def plan(self) -> Plan:
        """Of what breaks."""
        made = self.directory / "plan"
        made.mkdir(exist_ok=True)
        return Plan(made)

    def command(self) -> Sequence[str | Path]:
        """See Service."""
        breaking = (sys.executable, "-P", ROOT / "lab" / "faulty.py", self.plan.armed.parent)
        return (*self.within, *breaking, "stillframe-agent")


class Cloud:
    """All parts, in `directory`; the hosts are called host0, host1, ... `options` go into every configuration."""

    def __init__(
        self,
        directory: Path,
        hosts: Sequence[PrivateLibvirtd],
        options: Options | None = None,
        *,
        apis: int = 1,
        controllers: int = 1,
        agent: type[Agent] = Agent,
        database: str | None = None,
        broker: str = "127.0.0.1",
    ) -> None:
        """`database` is SQLAlchemy's URL; without one the services share a file. `broker`: where RabbitMQ listens.

        `agent`: of which kind they are.
        """
        directory.mkdir(exist_ok=True)
        self.broker = RabbitMq(directory / "rabbitmq", broker)
        self.database = database or f"sqlite:///{directory}/stillframe.sqlite"
        shared = _merged(
            {
                "database": {"connection": self.database},
                "messaging": {"transport_url": self.broker.url, "call_timeout": 3},
                "oslo_messaging_rabbit": {"rabbit_interval_max": 2},
            },
            options or {},
        )
        self.apis = [Api(directory / f"api{n}", None, shared) for n in range(apis)]
        self.controllers = [Controller(directory / f"controller{n}", None, shared) for n in range(controllers)]
        without = {group: values for group, values in shared.items() if group != "database"}
        self.agents = [
            agent(directory / f"agent{n}", host, _merged(without, {"DEFAULT": {"host": f"host{n}"}}))
            for n, host in enumerate(hosts)
        ]
        for each in self.agents:
            each.socket = self.api.socket
        self._stack = ExitStack()

    @property
    def api(self) -> Api:
        """The first one, through which agents are asked."""
        return self.apis[0]

    @property
    def parts(self) -> tuple[Part, ...]:
        """All services, in the order in which they are started."""
        return (*self.apis, *self.controllers, *self.agents)

    def repair(self) -> None:
        """Starts whatever was killed."""
        if not self.broker.running:
            self.broker.start()
        for part in self.parts:
            if not part.running:
                part.start()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.broker)
            for part in self.parts:
                stack.callback(part.discard)
                part.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _merged(one: Options, other: Options) -> dict[str, Mapping[str, object]]:
    return {group: {**one.get(group, {}), **other.get(group, {})} for group in {**one, **other}}
