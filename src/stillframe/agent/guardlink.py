"""The agent's end of the guard: arms it, disarms it, and raises a new one when it has died."""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stillframe import failpoints
from stillframe.agent import guardwire
from stillframe.agent.guardwire import Lines, Message
from stillframe.capture.guarding import Arm, ArmKind
from stillframe.errors.service import GuardUnavailable

__all__ = ["Arm", "ArmKind", "GuardLink"]

LOG = logging.getLogger(__name__)

_START_SECONDS = 15.0  # Python starts in a tenth of that even on a machine that is busy
_ANSWER_SECONDS = 5.0  # the guard answers at once: no request makes it wait
_RAISE_AGAIN_SECONDS = 1.0
_END_SECONDS = 5.0


class GuardLink:
    """The guard of one state directory; implements capture's Guard. Safe from any thread."""

    def __init__(self, state_dir: Path, uri: str, grace: float, silence: float = 10.0) -> None:
        """grace: seconds that backup jobs of a dead agent are kept. silence: those after which one counts as dead."""
        self.state_dir, self.uri, self.grace, self.silence = state_dir, uri, grace, silence
        self._lock = threading.Lock()
        self._lines: Lines | None = None
        self._pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None  # a guard that we have started; an adopted one is not ours
        self._armed: dict[str, tuple[Arm, float]] = {}  # and when, monotonic: for a guard that takes over
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="guard-watcher", daemon=True)

    def start(self) -> None:
        """Adopts the living guard of this state directory, else spawns one; raises GuardUnavailable."""
        with self._lock:
            self._raise()
            armed = self._exchange({"do": "armed"})["armed"]
            self._armed = {arm.key: (arm, time.monotonic()) for arm in map(guardwire.arm_from_json, armed)}
        self._watcher.start()

    @failpoints.around("guard.arm")
    def arm(self, arm: Arm) -> None:
        """Returns once the guard watches; arming a key again replaces what it had. Raises GuardUnavailable."""
        with self._lock:
            self._ask({"do": "arm", "arm": guardwire.arm_to_json(arm)})
            self._armed[arm.key] = (arm, time.monotonic())

    @failpoints.around("guard.disarm")
    def disarm(self, key: str) -> bool:
        """Ends the watch; False when the guard has acted already, never watched, or cannot be asked any more."""
        with self._lock:
            self._armed.pop(key, None)
            try:
                return bool(self._ask({"do": "disarm", "key": key})["kept"])
            except GuardUnavailable as error:
                LOG.warning("%s is disarmed, for there is no guard: %s", key, error)
                return False

    def armed(self) -> tuple[Arm, ...]:
        """What the guard watches or still gives back, also from before this agent started; raises GuardUnavailable."""
        with self._lock:
            return tuple(map(guardwire.arm_from_json, self._ask({"do": "armed"})["armed"]))

    def acted(self, key: str) -> str | None:
        """Why the guard has acted on this key, in words; None when it has not. Raises GuardUnavailable."""
        with self._lock:
            why = self._ask({"do": "acted", "key": key})["why"]
        return None if why is None else str(why)

    def acting(self, key: str) -> bool:
        """True while the guard gives this back and has not succeeded yet; False when it cannot be asked."""
        try:
            return self.acted(key) is not None and any(arm.key == key for arm in self.armed())
        except GuardUnavailable as error:
            LOG.warning("whether %s is being given back cannot be told: %s", key, error)
            return False

    @property
    def pid(self) -> int | None:
        """The guard's process id; None while there is none."""
        return self._pid

    def close(self) -> None:
        """Lets go of the guard, which ends when nothing is armed."""
        with self._lock:
            self._closing.set()
            self._drop()
        if self._watcher.ident is not None:
            self._watcher.join(_END_SECONDS)
        if self._process is not None and not self._armed:
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                LOG.warning("the guard, process %d, still gives something back", self._process.pid)

    # ------------------------------------------------------------------------------------- with the lock held

    def _ask(self, request: Message) -> Message:
        """The guard's answer; a guard that has died is replaced first."""
        if self._lines is not None:
            try:
                return self._exchange(request)
            except GuardUnavailable as error:
                LOG.warning("the guard is lost: %s", error)
        if self._closing.is_set():
            raise GuardUnavailable(operator="the link is closed")
        self._raise()
        return self._exchange(request)

    def _exchange(self, request: Message) -> Message:
        if self._lines is None:
            raise GuardUnavailable(operator="there is no guard")
        try:
            self._lines.send(request)
            answer = self._lines.receive()
        except (EOFError, OSError, ValueError) as error:
            self._drop()
            raise GuardUnavailable(operator=f"{type(error).__name__}: {error}") from error
        if "error" in answer:
            raise GuardUnavailable(operator=str(answer["error"]))
        return answer

    def _raise(self) -> None:
        """Reaches a guard, an old or a new one, and arms it with what is armed."""
        deadline = time.monotonic() + _START_SECONDS
        spawned = False
        while not self._reached():
            if self._process is None or self._process.poll() is not None:
                if spawned:
                    raise GuardUnavailable(operator=f"it ended; see {guardwire.log_path(self.state_dir)}")
                self._process, spawned = self._spawn(), True
            if time.monotonic() > deadline:
                raise GuardUnavailable(operator=f"it does not listen; see {guardwire.log_path(self.state_dir)}")
            time.sleep(0.01)
        for arm, since in self._armed.values():
            left = None if arm.seconds is None else max(0.0, since + arm.seconds - time.monotonic())
            self._exchange({"do": "arm", "arm": guardwire.arm_to_json(replace(arm, seconds=left))})

    def _reached(self) -> bool:
        """Whether a guard answers now; one that is about to end does not count."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(str(guardwire.socket_path(self.state_dir)))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return False
        except OSError as error:
            connection.close()
            raise GuardUnavailable(operator=str(error)) from error
        self._lines = Lines(connection)
        try:
            hello = {"do": "hello", "uri": self.uri, "grace": self.grace, "silence": self.silence}
            self._pid = int(self._exchange(hello)["pid"])
        except GuardUnavailable:
            if self._lines is not None:  # it answered, and refused
                self._drop()
                raise
            return False
        return True

    def _spawn(self) -> subprocess.Popen[bytes]:
        log = os.open(guardwire.log_path(self.state_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "stillframe.agent.guard", "--state-dir", str(self.state_dir.absolute()),
                 "--uri", self.uri, "--grace", str(self.grace)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise GuardUnavailable(operator=str(error)) from error
        finally:
            os.close(log)

    def _drop(self) -> None:
        if self._lines is not None:
            with suppress(OSError):  # the other end is gone already
                self._lines.socket.shutdown(socket.SHUT_RDWR)  # wakes the watcher, which close() does not
            self._lines.close()
            self._lines = None
            self._pid = None

    # --------------------------------------------------------------------------------------------- the watcher

    def _watch(self) -> None:
        """Gives a sign of life; notices the guard's death, so that what is armed stays guarded."""
        while not self._closing.is_set():
            with self._lock:
                lines = self._lines
            if lines is None or _hangs_up(lines.socket, _RAISE_AGAIN_SECONDS):
                self._replace(lines)
            else:
                self._be_here()

    def _be_here(self) -> None:
        with self._lock:
            if self._lines is None or not self._armed:
                return
            try:
                self._exchange({"do": "here"})
            except GuardUnavailable as error:
                LOG.warning("the guard took no note of a sign of life: %s", error)

    def _replace(self, lost: Lines | None) -> None:
        with self._lock:
            if self._lines is not lost or self._closing.is_set():
                return
            self._drop()
            LOG.warning("the guard has died; a new one is started")
            try:
                self._raise()
            except GuardUnavailable:
                LOG.exception("no guard could be started; %d are not guarded", len(self._armed))
        self._closing.wait(_RAISE_AGAIN_SECONDS)


def _hangs_up(connection: socket.socket, seconds: float) -> bool:
    poller = select.poll()
    try:
        poller.register(connection, select.POLLRDHUP)
        return bool(poller.poll(seconds * 1000))
    except (OSError, ValueError):  # closed under our hands
        return True
