"""The OpenStack clients as processes of their own, set up as docs/clients.md says."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.tools import ROOT

BIN = ROOT / ".venv-clients" / "bin"
STILLFRAME = ROOT / ".venv" / "bin" / "stillframe"
LIMIT = 120  # seconds for any command; 2 to 4 on an idle machine


@dataclass(frozen=True)
class Signature:
    """Who asks: nobody in particular, or a user with a password."""

    user: str | None = None
    password: str | None = None

    @property
    def kind(self) -> str:
        """keystoneauth's name of the way to sign in."""
        return "http_basic" if self.user else "none"


class Clients:
    """All clients of one service at `root` (http://ADDRESS:PORT); `directory` gets the clouds.yaml."""

    def __init__(self, root: str, signature: Signature, directory: Path) -> None:
        self.root = root
        self.signature = signature
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "clouds.yaml").write_text(self._clouds())

    def _clouds(self) -> str:
        cloud: dict[str, Any] = {
            "auth_type": self.signature.kind,
            "compute_endpoint_override": f"{self.root}/v2.1",
            "image_endpoint_override": f"{self.root}/image",
            "identity_api_version": "3",
            "identity_endpoint_override": f"{self.root}/v2.1",
        }
        if self.signature.user:
            cloud["auth"] = {"username": self.signature.user, "password": self.signature.password}
        return json.dumps({"clouds": {"stillframe": cloud}})  # JSON is YAML, too

    def openstack(self, *words: str, code: int = 0) -> Any:
        """python-openstackclient's answer: JSON, or its words."""
        return self._run([str(BIN / "openstack"), *words], {"OS_CLOUD": "stillframe"}, code)

    def stillframe(self, *words: str, code: int = 0) -> Any:
        """Our own command, through the same clouds.yaml."""
        return self._run([str(STILLFRAME), "--os-cloud", "stillframe", *words], {}, code)

    def sdk(self, script: str, *words: str) -> Any:
        """What a script prints as JSON; it finds a connection of openstacksdk as `cloud`."""
        begin = "import json, sys, openstack\ncloud = openstack.connect(cloud='stillframe')\n"
        return self._run([str(BIN / "python"), "-c", begin + script, *words], {}, 0)

    def nova(self, *words: str, code: int = 0) -> str:
        """python-novaclient's words; it insists on a user, a project and a URL that nobody uses."""
        names = {"OS_USERNAME": "unused", "OS_PROJECT_NAME": "unused", "OS_AUTH_URL": "http://unused"}
        names |= {"OS_AUTH_TYPE": self.signature.kind, "OS_ENDPOINT": f"{self.root}/v2.1"}
        if self.signature.user:
            names |= {"OS_USERNAME": self.signature.user, "OS_PASSWORD": self.signature.password or ""}
        return str(self._run([str(BIN / "nova"), *words], names, code))

    def _run(self, argv: list[str], extra: Mapping[str, str], code: int) -> Any:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "STILLFRAME_"))}
        names = {"OS_CLIENT_CONFIG_FILE": str(self.directory / "clouds.yaml"), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            argv, env=kept | names | dict(extra), cwd=self.directory, capture_output=True, text=True, timeout=LIMIT,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{argv}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        if code:
            return done.stderr
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout
