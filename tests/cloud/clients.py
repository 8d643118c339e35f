"""Nova's clients as processes of their own, which sign in at Keystone and find their services in its catalogue."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lab.openstack.keystone import REGION, Keystone, User
from tests.real.client_tools import BIN, LIMIT


class Clients:
    """One user's clients, configured by the environment alone."""

    def __init__(self, keystone: Keystone, user: User, directory: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "STILLFRAME_"))}
        signing_in = {f"OS_{name.upper()}": value for name, value in keystone.auth(user).items()}
        self._environment = kept | signing_in | {"OS_REGION_NAME": REGION, "OS_IDENTITY_API_VERSION": "3"}
        self.directory = directory

    def run(self, *words: str, code: int = 0) -> str:
        """What a command says."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]], env=self._environment, cwd=self.directory, capture_output=True,
            text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr if code else done.stdout

    def openstack(self, *words: str) -> Any:
        """What openstackclient says in JSON."""
        return json.loads(self.run("openstack", *words, "-f", "json"))
