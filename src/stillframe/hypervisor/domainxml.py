"""libvirt's domain XML, read into records. Nothing here talks to libvirt.

The root disk is the one with the lowest `<boot order>`; where no disk has one, the first in the XML's order that is
neither read-only nor on a bus for removable things (USB, floppy). CD-ROMs and floppies are not disks of an instance.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from grp import getgrnam
from pwd import getpwnam

from stillframe.model import Disk, DiskKind, Layer, RbdPlace

NOVA_NAMESPACES = ("http://openstack.org/xmlns/libvirt/nova/1.1", "http://openstack.org/xmlns/libvirt/nova/1.0")
_DISK_DEVICES = ("disk", "lun")
_ROOT_BUSES = ("virtio", "scsi", "sata", "ide", "xen", "nvme")
_UNITS = {"b": 1, "bytes": 1, "KB": 10**3, "k": 1 << 10, "KiB": 1 << 10, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20,
          "GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NovaMetadata:
    """What Nova wrote into the domain's metadata."""

    name: str | None = None
    flavor: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    root_image_id: str | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A domain as its XML describes it."""

    id: str
    domain: str  # libvirt's name
    vcpus: int
    memory_mib: int
    disks: tuple[Disk, ...]
    root: str | None
    nova: NovaMetadata = field(default_factory=NovaMetadata)

    @property
    def base_image_id(self) -> str | None:
        """The image that the root disk was made from; None when the root is a volume, whose id Nova writes there."""
        root = next((disk for disk in self.disks if disk.target == self.root), None)
        if root is not None and root.serial == self.nova.root_image_id:
            return None
        return self.nova.root_image_id


def definition(xml: str) -> Definition:
    """The domain described by this XML; raises ValueError for XML that is not a domain's."""
    domain = _parsed(xml)
    elements = list(_disk_elements(domain))
    return Definition(
        id=domain.findtext("uuid", "").strip().lower(),
        domain=domain.findtext("name", ""),
        vcpus=_vcpus(domain),
        memory_mib=_memory(domain) >> 20,
        disks=tuple(_disk(element) for element in elements),
        root=_root(elements),
        nova=_nova(domain),
    )


def dac_owner(xml: str) -> tuple[int, int] | None:
    """User and group that QEMU runs as, by the `dac` label of a live domain's XML; None when it has none."""
    for label in _parsed(xml).findall("seclabel[@model='dac']/label"):
        user, _, group = (label.text or "").strip().partition(":")
        if user and group:
            return _uid(user), _gid(group)
    return None


def _parsed(xml: str) -> ET.Element:
    try:
        domain = ET.fromstring(xml)  # noqa: S314  libvirt writes this XML itself
    except ET.ParseError as error:
        raise ValueError(f"not XML: {error}") from error
    if domain.tag != "domain":
        raise ValueError(f"the XML describes a {domain.tag}, not a domain")
    return domain


def _disk_elements(domain: ET.Element) -> Iterator[ET.Element]:
    for element in domain.findall("devices/disk"):
        if element.get("device", "disk") in _DISK_DEVICES and _target(element) and element.find("source") is not None:
            yield element


def _target(element: ET.Element) -> str:
    target = element.find("target")
    return target.get("dev", "") if target is not None else ""


def _disk(element: ET.Element) -> Disk:
    driver = element.find("driver")
    return Disk(
        target=_target(element),
        chain=tuple(_chain(element)),
        serial=element.findtext("serial") or None,
        read_only=element.find("readonly") is not None,
        error_policy=driver.get("error_policy") if driver is not None else None,
        encryption=_encryption(element),
        bus=_bus(element),
    )


def _bus(element: ET.Element) -> str | None:
    target = element.find("target")
    return target.get("bus") if target is not None else None


def _chain(element: ET.Element) -> Iterator[Layer]:
    driver = element.find("driver")
    # libvirt itself takes an unstated format for raw
    yield _layer(element, driver.get("type", "raw") if driver is not None else "raw")
    layer = element.find("backingStore")
    while layer is not None and layer.find("source") is not None:
        stated = layer.find("format")
        yield _layer(layer, stated.get("type", "raw") if stated is not None else "raw")
        layer = layer.find("backingStore")


def _layer(element: ET.Element, stated: str) -> Layer:
    source = element.find("source")
    assert source is not None  # noqa: S101  the callers have looked
    kind, path = _location(element.get("type", "file"), source)
    return Layer(path=path, format=stated, kind=kind, rbd=_rbd(element, source) if kind is DiskKind.NETWORK else None)


def _location(kind: str, source: ET.Element) -> tuple[DiskKind, str]:
    """Where a layer is. What only QEMU can open counts as network: no file or device stands for it."""
    if source.find("slices") is not None:
        return DiskKind.NETWORK, f"slice:{source.get('file') or source.get('dev') or source.get('name')}"
    if kind == "file":
        return DiskKind.FILE, source.get("file", "")
    if kind == "block":
        return DiskKind.BLOCK, source.get("dev", "")
    if kind == "network":
        return DiskKind.NETWORK, f"{source.get('protocol')}:{source.get('name')}"
    if kind == "volume":
        return DiskKind.NETWORK, f"volume:{source.get('pool')}/{source.get('volume')}"
    return DiskKind.NETWORK, f"{kind}:{source.get('path') or source.get('namespace') or source.get('dir') or ''}"


def _rbd(element: ET.Element, source: ET.Element) -> RbdPlace | None:
    """Where a layer on RBD is; None for any other, for a part or a snapshot of one, and within a namespace."""
    pool, _, image = source.get("name", "").partition("/")
    if source.get("protocol") != "rbd" or not image or "/" in image or source.find("snapshot") is not None:
        return None
    if source.find("slices") is not None or "@" in image:
        return None
    auth = source.find("auth") if source.find("auth") is not None else element.find("auth")
    secret = auth.find("secret") if auth is not None else None
    conf = source.find("config")
    return RbdPlace(
        pool=pool,
        image=image,
        monitors=tuple(_monitor(host) for host in source.findall("host")),
        user=auth.get("username") if auth is not None else None,
        secret=secret.get("uuid") if secret is not None else None,
        conf=conf.get("file") if conf is not None else None,
    )


def _monitor(host: ET.Element) -> str:
    name, port = host.get("name", ""), host.get("port")
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    return f"{name}:{port}" if port else name


def _encryption(element: ET.Element) -> str | None:
    """Names the encryption of any layer of the disk: all of them would be read decrypted."""
    for found in element.iter("encryption"):
        name = found.get("format", "luks")
        return "LUKS" if name.startswith("luks") else name
    return None


def _root(elements: list[ET.Element]) -> str | None:
    orders = [(int(boot.get("order", "0")), _target(disk)) for disk in elements for boot in disk.findall("boot")]
    if orders:
        return min(orders)[1]
    for element in elements:
        if (_bus(element) or "virtio") in _ROOT_BUSES and element.find("readonly") is None:
            return _target(element)
    return None


def _vcpus(domain: ET.Element) -> int:
    vcpu = domain.find("vcpu")
    if vcpu is None:
        return 1
    return int(vcpu.get("current") or vcpu.text or 1)


def _memory(domain: ET.Element) -> int:
    memory = domain.find("memory")
    if memory is None:
        return 0
    return int(memory.text or 0) * _UNITS.get(memory.get("unit", "KiB"), 1 << 10)


def _nova(domain: ET.Element) -> NovaMetadata:
    for namespace in NOVA_NAMESPACES:
        instance = domain.find(f"metadata/{{{namespace}}}instance")
        if instance is not None:
            return _nova_instance(instance, f"{{{namespace}}}")
    return NovaMetadata()


def _nova_instance(instance: ET.Element, prefix: str) -> NovaMetadata:
    def attribute(path: str, name: str) -> str | None:
        element = instance.find("/".join(prefix + part for part in path.split("/")))
        return element.get(name) if element is not None else None

    return NovaMetadata(
        name=instance.findtext(f"{prefix}name") or None,
        flavor=attribute("flavor", "name"),
        project_id=attribute("owner/project", "uuid"),
        user_id=attribute("owner/user", "uuid"),
        root_image_id=attribute("root", "uuid") if attribute("root", "type") == "image" else None,
    )


def _uid(text: str) -> int:
    number = text.removeprefix("+")
    return int(number) if number.isdigit() else getpwnam(number).pw_uid


def _gid(text: str) -> int:
    number = text.removeprefix("+")
    return int(number) if number.isdigit() else getgrnam(number).gr_gid
