"""A libvirtd of one's own: several make several hosts on one machine.

It lives in a mount namespace where its own directories lie over /run/libvirt, /var/lib/libvirt and so on, so it meets
neither the machine's own libvirtd nor another of these. Mounts made after its start are not seen by it or its guests.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

import libvirt

from lab import keeper, processes
from lab.lasting import Lasting
from lab.tools import CACHE, environment, tool
from lab.wait import until

PLACES = {
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "etc": "/etc/libvirt",
}
CAPABILITIES = CACHE / "capabilities"  # libvirt checks itself whether they are still true of this QEMU
UNPRIVILEGED = "libvirt-qemu"

LIBVIRTD_CONF = """\
listen_tls = 0
listen_tcp = 0
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_dir = "/run/libvirt"
host_uuid = "{uuid}"
log_outputs = "3:stderr"
"""
QEMU_CONF = """\
security_driver = "none"
security_default_confined = 0
user = "{user}"
group = "{group}"
dynamic_ownership = {dynamic_ownership}
remember_owner = {dynamic_ownership}
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
"""


class PrivateLibvirtd(Lasting):
    """A libvirtd that keeps everything in `directory` (short: socket paths end at 107 bytes).

    With `user`, QEMU runs as that user and libvirt hands it the disks (dynamic_ownership), as real hosts do;
    without, as root.
    """

    def __init__(self, directory: Path, *, user: str | None = None) -> None:
        self.directory = directory
        self.uri = f"qemu+unix:///system?socket={directory}/run/libvirt-sock"
        self._pid: int | None = None
        self._keeper: subprocess.Popen[str] | None = None
        self._namespace: str | None = None
        self._pin = -1  # of the namespace
        libvirt.registerErrorHandler(_quiet, None)  # errors are raised; libvirt prints them as well otherwise
        self._prepare(user)

    def _prepare(self, user: str | None) -> None:
        for name in PLACES.keys() - {"run"}:
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for name in ("qemu", "images", "boot"):
            (self.directory / "lib" / name).mkdir(exist_ok=True)
        (self.directory / "cache" / "qemu").mkdir(exist_ok=True)
        group = "root" if user is None else _group(user)
        (self.directory / "etc" / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(uuid=uuid.uuid4()))
        (self.directory / "etc" / "qemu.conf").write_text(
            QEMU_CONF.format(user=user or "root", group=group, dynamic_ownership=int(user is not None))
        )
        if CAPABILITIES.exists():
            shutil.copytree(CAPABILITIES, self.directory / "cache" / "qemu" / "capabilities", dirs_exist_ok=True)

    # ---------------------------------------------------------------------------------------------- the daemon

    @property
    def pid(self) -> int:
        """The daemon's process id; raises RuntimeError when it is not running."""
        if self._pid is None:
            raise RuntimeError("libvirtd is not running")
        return self._pid

    def start(self) -> None:
        """Starts the daemon, the first time in a namespace of its own, later in that of the guests that still run."""
        if self._keeper is None:
            self._keeper = self._separate()
            self._namespace = processes.mount_namespace(self._keeper.pid)
            # open, its number is not given to another one's namespace while we end what is in ours
            self._pin = os.open(f"/proc/{self._keeper.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        argv = ["/usr/sbin/libvirtd", "--config", "/etc/libvirt/libvirtd.conf"]
        order = {"run": [*argv, "--pid-file", "/run/libvirt/libvirtd.pid"], "log": str(self.directory / "libvirtd.log")}
        self._pid = int(_asked(self._keeper, json.dumps(order)))
        until(self._answers, 30, f"libvirtd in {self.directory}; its log: {self.directory}/libvirtd.log")

    def _separate(self) -> subprocess.Popen[str]:
        """Makes the mount namespace; its keeper ends all that is in it should this process vanish."""
        for place in PLACES.values():
            Path(place).mkdir(parents=True, exist_ok=True)
        self._make_run()
        binds = "".join(f"mount --bind {self.directory / name} {place}\n" for name, place in PLACES.items())
        script = f"{binds}{self._without_kvm()}exec {sys.executable} -IS {Path(keeper.__file__)} {self.directory}"
        holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        if holder.stdout is None or holder.stdout.readline() != "ready\n":
            raise RuntimeError("a private libvirtd needs root: its mount namespace could not be made")
        return holder

    def _make_run(self) -> None:
        """In memory, as /run is on every host: libvirt syncs a guest's status there in the middle of its commands."""
        memory = Path(tempfile.mkdtemp(prefix="sfr-", dir="/dev/shm"))
        memory.chmod(0o755)
        (self.directory / "run").symlink_to(memory)

    def _without_kvm(self) -> str:
        """Hides /dev/kvm behind a file that cannot be written: where KVM only seems to work, each probe hangs for long.

        So guests are emulated everywhere, and tests see the same on every machine.
        """
        if not Path("/dev/kvm").exists():
            return ""
        (self.directory / "no-kvm").touch()
        return f"mount --bind {self.directory}/no-kvm /dev/kvm\nmount -o remount,bind,ro /dev/kvm\n"

    def _answers(self) -> bool:
        if not processes.alive(self.pid):
            raise RuntimeError(f"libvirtd ended:\n{(self.directory / 'libvirtd.log').read_text()[-4000:]}")
        if not (self.directory / "run" / "libvirt-sock").is_socket():
            return False
        try:
            libvirt.open(self.uri).close()
        except libvirt.libvirtError:
            return False
        return True

    def halt(self) -> None:
        """Ends the daemon alone (SIGTERM); guests run on."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the daemon alone (SIGKILL); guests run on."""
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        """Ends the daemon and starts it again; guests run on."""
        self.halt()
        self.start()

    def _signal(self, number: signal.Signals) -> None:
        if self._pid is not None:
            pid = self._pid
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(pid, number)
            until(lambda: not processes.alive(pid), 30, f"the end of libvirtd in {self.directory}")
            self._pid = None

    def stop(self) -> None:
        """Ends the daemon and everything that it started; nothing of it is left but the directory."""
        self._signal(signal.SIGTERM)
        if self._namespace is not None:
            namespace = self._namespace
            processes.end(lambda: processes.in_mount_namespace(namespace), f"libvirtd's processes in {namespace}")
            os.close(self._pin)
            self._namespace = None
            self._reap_keeper()
            self._keep_capabilities()
            shutil.rmtree((self.directory / "run").resolve())
            (self.directory / "run").unlink()

    def _reap_keeper(self) -> None:
        if self._keeper is not None and self._keeper.stdin is not None and self._keeper.stdout is not None:
            self._keeper.wait(10)
            self._keeper.stdin.close()
            self._keeper.stdout.close()
            self._keeper = None

    def _keep_capabilities(self) -> None:
        """Saves the 3.6 s in which libvirt asks QEMU what it can do."""
        probed = self.directory / "cache" / "qemu" / "capabilities"
        if probed.exists() and not CAPABILITIES.exists():
            CAPABILITIES.parent.mkdir(parents=True, exist_ok=True)
            building = CAPABILITIES.with_name(f"capabilities-{os.getpid()}")
            shutil.copytree(probed, building, dirs_exist_ok=True)
            if CAPABILITIES.exists():
                shutil.rmtree(building)
            else:
                building.rename(CAPABILITIES)

    # ------------------------------------------------------------------------------------------ what others need

    @property
    def inside(self) -> tuple[str, ...]:
        """The command that runs another one in the mount namespace of libvirtd and its guests."""
        if self._keeper is None:
            raise RuntimeError("libvirtd was not started")
        return ("nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt")

    def run_inside(self, *argv: str | Path) -> str:
        """Standard output of a command run in that namespace."""
        return tool(*self.inside, *argv)

    def connect(self) -> libvirt.virConnect:
        """A new connection; the caller closes it."""
        return libvirt.open(self.uri)


def _asked(holder: subprocess.Popen[str], line: str) -> str:
    """The keeper's answer to a line."""
    if holder.stdin is None or holder.stdout is None:
        raise RuntimeError("the keeper has no pipes")
    holder.stdin.write(f"{line}\n")
    holder.stdin.flush()
    return holder.stdout.readline()


def _quiet(_context: object, _error: object) -> None:
    """Says nothing."""


def _group(user: str) -> str:
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
