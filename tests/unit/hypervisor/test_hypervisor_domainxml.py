from __future__ import annotations

import pytest

from stillframe.hypervisor.domainxml import dac_owner, definition
from stillframe.model import DiskKind, Layer, RbdPlace

NOVA = """
<domain type='kvm' id='7'>
  <name>instance-0000002a</name>
  <uuid>0B2B1F3E-6F4B-4B0E-9E0E-0F6E5A1C2D3E</uuid>
  <metadata>
    <nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>
      <nova:name>db &amp; cache</nova:name>
      <nova:flavor name='m1.small'><nova:memory>2048</nova:memory></nova:flavor>
      <nova:owner>
        <nova:user uuid='8d2c6f0e1b3a49d7a5c4e2f1b0d9c8a7'>alice</nova:user>
        <nova:project uuid='5f0f8a2d4c3b4e7a9d1c2b3a4f5e6d7c'>shop</nova:project>
      </nova:owner>
      <nova:root type='image' uuid='aa11bb22-0000-4000-8000-00000000cafe'/>
    </nova:instance>
  </metadata>
  <memory unit='KiB'>2097152</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <vcpu placement='static' current='2'>4</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
  <devices>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/var/lib/nova/instances/0b2b/disk.config'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' error_policy='report'/>
      <source file='/var/lib/nova/instances/0b2b/disk' index='1'/>
      <backingStore type='file' index='3'>
        <format type='raw'/>
        <source file='/var/lib/nova/instances/_base/4d1c'/>
        <backingStore/>
      </backingStore>
      <target dev='vda' bus='virtio'/>
      <alias name='virtio-disk0'/>
    </disk>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <auth username='cinder'><secret type='ceph' uuid='457eb676-33da-42ec-9a8c-9293d545c337'/></auth>
      <source protocol='rbd' name='volumes/volume-1'><host name='10.0.0.1' port='6789'/></source>
      <target dev='vdb' bus='virtio'/>
      <serial>2f6c9f0e-1d2c-4f3a-8e1b-7a9b0c1d2e3f</serial>
    </disk>
  </devices>
  <seclabel type='dynamic' model='dac' relabel='yes'>
    <label>+64055:+109</label>
    <imagelabel>+64055:+109</imagelabel>
  </seclabel>
  <seclabel type='dynamic' model='apparmor' relabel='yes'><label>libvirt-0b2b</label></seclabel>
</domain>
"""


def domain(*disks: str, os: str = "<boot dev='hd'/>") -> str:
    return f"""<domain type='qemu'><name>a</name><uuid>0b2b1f3e-6f4b-4b0e-9e0e-0f6e5a1c2d3e</uuid>
        <memory unit='MiB'>512</memory><vcpu>1</vcpu><os><type>hvm</type>{os}</os>
        <devices>{"".join(disks)}</devices></domain>"""


def disk(target: str, *, bus: str = "virtio", device: str = "disk", inner: str = "") -> str:
    return (
        f"<disk type='file' device='{device}'><driver name='qemu' type='raw'/><source file='/d/{target}'/>"
        f"<target dev='{target}' bus='{bus}'/>{inner}</disk>"
    )


def test_a_domain_of_nova_is_read_with_its_owner_image_and_disks() -> None:
    read = definition(NOVA)
    assert read.id == "0b2b1f3e-6f4b-4b0e-9e0e-0f6e5a1c2d3e"
    assert read.domain == "instance-0000002a"
    assert (read.vcpus, read.memory_mib) == (2, 2048)
    assert (read.nova.name, read.nova.flavor) == ("db & cache", "m1.small")
    assert read.nova.project_id == "5f0f8a2d4c3b4e7a9d1c2b3a4f5e6d7c"
    assert read.nova.user_id == "8d2c6f0e1b3a49d7a5c4e2f1b0d9c8a7"
    assert read.base_image_id == "aa11bb22-0000-4000-8000-00000000cafe"
    assert read.root == "vda"
    vda, vdb = read.disks
    assert vda.chain == (
        Layer("/var/lib/nova/instances/0b2b/disk", "qcow2"),
        Layer("/var/lib/nova/instances/_base/4d1c", "raw"),
    )
    assert (vda.error_policy, vda.serial, vda.read_only) == ("report", None, False)
    secret = "457eb676-33da-42ec-9a8c-9293d545c337"
    place = RbdPlace("volumes", "volume-1", ("10.0.0.1:6789",), user="cinder", secret=secret)
    assert vdb.chain == (Layer("rbd:volumes/volume-1", "raw", DiskKind.NETWORK, place),)
    assert (vda.bus, vdb.bus) == ("virtio", "virtio")
    assert vdb.serial == "2f6c9f0e-1d2c-4f3a-8e1b-7a9b0c1d2e3f"


def rbd(inner: str = "", name: str = "vms/disk") -> RbdPlace | None:
    xml = (
        f"<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='{name}'>"
        f"{inner}</source><target dev='vda' bus='virtio'/></disk>"
    )
    return definition(domain(xml)).disks[0].top.rbd


def test_a_disk_on_rbd_tells_how_its_cluster_is_reached() -> None:
    auth = "<auth username='nova'><secret type='ceph' uuid='457eb676-33da-42ec-9a8c-9293d545c337'/></auth>"
    hosts = "<host name='mon1'/><host name='fd00::1' port='3300'/>"
    place = rbd(f"{auth}{hosts}<config file='/etc/ceph/west.conf'/>")
    assert place == RbdPlace(
        *("vms", "disk", ("mon1", "[fd00::1]:3300"), "nova"),
        *("457eb676-33da-42ec-9a8c-9293d545c337", "/etc/ceph/west.conf"),
    )


@pytest.mark.parametrize(
    ("inner", "name"),
    [
        ("<snapshot name='s'/>", "vms/disk"),
        ("", "vms/space/disk"),
        ("", "disk"),
        ("", "vms/disk@s"),
        ("<slices><slice type='storage' offset='0' size='1'/></slices>", "vms/disk"),
    ],
    ids=["snapshot", "namespace", "no pool", "snapshot in the name", "slice"],
)
def test_what_is_not_a_whole_image_on_rbd_is_left_to_qemu(inner: str, name: str) -> None:
    assert rbd(inner, name) is None


def test_the_older_namespace_of_nova_is_read_too() -> None:
    assert definition(NOVA.replace("nova/1.1", "nova/1.0")).nova.flavor == "m1.small"


def test_metadata_of_others_is_not_novas() -> None:
    assert definition(NOVA.replace("nova/1.1", "other/1.1")).nova.name is None


def test_the_base_image_of_an_instance_that_boots_from_a_volume_is_unknown() -> None:
    volume = "aa11bb22-0000-4000-8000-00000000cafe"
    read = definition(NOVA.replace("<alias name='virtio-disk0'/>", f"<serial>{volume}</serial>"))
    assert read.base_image_id is None


def test_the_lowest_boot_order_makes_the_root_disk() -> None:
    read = definition(
        domain(
            disk("vda", inner="<boot order='3'/>"),
            disk("vdb", inner="<boot order='2'/>"),
            disk("sda", bus="scsi"),
            os="",
        )
    )
    assert read.root == "vdb"


def test_a_cdrom_that_boots_first_is_not_the_root_disk() -> None:
    cdrom = disk("sda", bus="sata", device="cdrom", inner="<boot order='1'/><readonly/>")
    assert definition(domain(cdrom, disk("sdb", bus="sata"), os="")).root == "sdb"


def test_without_an_order_the_first_writable_disk_that_is_not_removable_is_the_root() -> None:
    read = definition(
        domain(disk("sdx", bus="usb"), disk("vda", inner="<readonly/>"), disk("hda", bus="ide"), disk("vdb"))
    )
    assert read.root == "hda"
    assert [found.target for found in read.disks] == ["sdx", "vda", "hda", "vdb"]


def test_a_domain_without_disks_has_no_root() -> None:
    read = definition(domain(disk("fda", bus="fdc", device="floppy")))
    assert (read.root, read.disks, read.base_image_id) == (None, (), None)


def test_an_unstated_format_is_raw_as_libvirt_takes_it() -> None:
    xml = domain("<disk type='file' device='disk'><source file='/d'/><target dev='vda' bus='virtio'/></disk>")
    assert definition(xml).disks[0].top.format == "raw"


@pytest.mark.parametrize("place", ["source", "disk", "backing"])
def test_luks_is_found_wherever_the_xml_says_it(place: str) -> None:
    luks = (
        "<encryption format='luks'><secret type='passphrase' uuid='457eb676-33da-42ec-9a8c-9293d545c337'/></encryption>"
    )
    source = f"<source file='/d'>{luks if place == 'source' else ''}</source>"
    base = f"<backingStore type='file'><format type='luks'/><source file='/b'>{luks}</source></backingStore>"
    xml = domain(
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>{source}"
        f"{base if place == 'backing' else ''}<target dev='vda' bus='virtio'/>{luks if place == 'disk' else ''}</disk>"
    )
    assert definition(xml).disks[0].encryption == "LUKS"


@pytest.mark.parametrize(
    ("kind", "source", "layer"),
    [
        ("block", "<source dev='/dev/sdc'/>", Layer("/dev/sdc", "raw", DiskKind.BLOCK)),
        ("volume", "<source pool='default' volume='v1'/>", Layer("volume:default/v1", "raw", DiskKind.NETWORK)),
        ("nvme", "<source type='pci' namespace='1'/>", Layer("nvme:1", "raw", DiskKind.NETWORK)),
        (
            "file",
            "<source file='/d'><slices><slice type='storage' offset='0' size='512'/></slices></source>",
            Layer("slice:/d", "raw", DiskKind.NETWORK),
        ),
    ],
)
def test_what_no_file_or_device_stands_for_counts_as_network(kind: str, source: str, layer: Layer) -> None:
    xml = domain(f"<disk type='{kind}' device='disk'>{source}<target dev='vda' bus='virtio'/></disk>")
    assert definition(xml).disks[0].chain == (layer,)


@pytest.mark.parametrize(("unit", "mib"), [("KiB", 2), ("MiB", 2048), ("b", 0), ("GiB", 2 << 20)])
def test_memory_is_read_in_any_unit(unit: str, mib: int) -> None:
    xml = domain().replace("<memory unit='MiB'>512", f"<memory unit='{unit}'>2048")
    assert definition(xml).memory_mib == mib


def test_qemus_user_is_read_from_the_dac_label() -> None:
    assert dac_owner(NOVA) == (64055, 109)
    assert dac_owner(NOVA.replace("+64055:+109", "root:daemon")) == (0, 1)
    assert dac_owner(domain()) is None


@pytest.mark.parametrize("text", ["", "<domain", "<network><name>n</name></network>"])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"domain|XML"):
        definition(text)
