"""dm-crypt below a disk, in a made-up sysfs: the kernels of test machines have no device mapper."""

from __future__ import annotations

import os
from pathlib import Path

from stillframe.disks.encryption import dm_crypt, encryption
from stillframe.model import Disk, Layer


def device(sysfs: Path, name: str, number: str, uuid: str | None = None, slaves: tuple[str, ...] = ()) -> Path:
    path = sysfs / "devices" / name
    (path / "slaves").mkdir(parents=True)
    if uuid is not None:
        (path / "dm").mkdir()
        (path / "dm" / "uuid").write_text(uuid + "\n")
    for slave in slaves:
        (path / "slaves" / slave).symlink_to(sysfs / "devices" / slave)
    (sysfs / "dev" / "block").mkdir(parents=True, exist_ok=True)
    (sysfs / "dev" / "block" / number).symlink_to(path)
    return path


def test_a_crypt_mapping_is_seen(tmp_path: Path) -> None:
    device(tmp_path, "dm-0", "253:0", "CRYPT-LUKS2-0123-disk")
    assert dm_crypt(os.makedev(253, 0), tmp_path)


def test_a_volume_on_a_crypt_mapping_is_seen(tmp_path: Path) -> None:
    device(tmp_path, "sda", "8:0")
    device(tmp_path, "dm-0", "253:0", "CRYPT-LUKS2-0123-pv", slaves=("sda",))
    device(tmp_path, "dm-1", "253:1", "LVM-abc", slaves=("sda", "dm-0"))
    assert dm_crypt(os.makedev(253, 1), tmp_path)


def test_a_partition_of_a_crypt_mapping_is_seen(tmp_path: Path) -> None:
    whole = device(tmp_path, "dm-0", "253:0", "CRYPT-LUKS2-0123-disk")
    part = whole / "part1"
    part.mkdir()
    (part / "partition").write_text("1\n")
    (tmp_path / "dev" / "block" / "259:1").symlink_to(part)
    assert dm_crypt(os.makedev(259, 1), tmp_path)


def test_plain_devices_and_plain_volumes_are_not(tmp_path: Path) -> None:
    device(tmp_path, "sda", "8:0")
    device(tmp_path, "dm-1", "253:1", "LVM-abc", slaves=("sda",))
    assert not dm_crypt(os.makedev(8, 0), tmp_path)
    assert not dm_crypt(os.makedev(253, 1), tmp_path)
    assert not dm_crypt(os.makedev(7, 7), tmp_path)


def test_devices_made_of_each_other_end(tmp_path: Path) -> None:
    device(tmp_path, "dm-0", "253:0", "LVM-a", slaves=("dm-1",))
    device(tmp_path, "dm-1", "253:1", "LVM-b", slaves=("dm-0",))
    assert not dm_crypt(os.makedev(253, 0), tmp_path)


def test_what_the_definition_says_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.touch()
    assert encryption(Disk("vda", (Layer(str(path), "raw"),), encryption="LUKS")) == "LUKS"
    assert encryption(Disk("vda", (Layer(str(path), "raw"),))) is None


def test_a_disk_that_its_guest_encrypts_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"LUKS\xba\xbe\x00\x02".ljust(4096, b"\0"))
    assert encryption(Disk("vda", (Layer(str(path), "raw"),))) is None
