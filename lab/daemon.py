"""A server process of the lab's own: started, killed, stopped and started again; it ends with this process."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.lasting import Lasting
from lab.tools import environment, tool
from lab.wait import until

USER = "nobody"  # servers refuse to run as root, and need no more than their directory
STARTED = 120.0  # seconds; a recovery after a kill included


class Daemon(Lasting):
    """One process that keeps everything in `directory` (short: socket paths end at 107 bytes)."""

    STOP = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        """Makes the directory, which becomes the server's own."""
        self.directory = directory
        self.log = directory / "log"
        self.own(directory)
        self._process: subprocess.Popen[bytes] | None = None

    def own(self, directory: Path) -> None:
        """Makes a directory that the server may write to."""
        directory.mkdir(mode=0o755, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(directory, USER, pwd.getpwnam(USER).pw_gid)

    def command(self) -> Sequence[str | Path]:
        """What is run."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it can be used by now."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts it and waits until it answers; raises NotInTime."""
        with self.log.open("ab") as log:
            argv = [str(word) for word in unprivileged(self.command())]
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, env=environment()
            )
        until(self._answers, STARTED, f"{argv[0]}; its log: {self.log}")

    def stop(self) -> None:
        """As an administrator would, then SIGKILL: nothing of it is left. Does nothing when it does not run."""
        self._end(self.STOP)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """A signal to the process; raises RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError(f"there is no process in {self.directory}")
        self._process.send_signal(number)

    def restart(self, *, between: Callable[[], object] = lambda: None) -> None:
        """Kills it and starts it again; `between` is done while it is away."""
        self.kill()
        between()
        self.start()

    def run(self, *argv: str | Path, timeout: float = 120) -> str:
        """A tool of the server's, as the server's user; its output."""
        return tool(*unprivileged(argv), timeout=timeout, cwd=self.directory)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"it ended at its start: {self.log.read_text()[-2000:]}")
        return self.answers()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def unprivileged(argv: Sequence[str | Path]) -> Sequence[str | Path]:
    """The command as USER if this process is root's; it is killed when this thread ends."""
    drop = ["--reuid", USER, "--regid", str(pwd.getpwnam(USER).pw_gid), "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *drop, "--pdeathsig", "KILL", *argv]
