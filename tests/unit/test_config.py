from __future__ import annotations

from pathlib import Path

import pytest

from stillframe import config
from stillframe.config import CephCluster, Settings
from stillframe.errors.service import ConfigInvalid


def loaded(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "stillframe.conf"
    file.write_text(text)
    return config.load(files=[file])


def test_each_cluster_has_a_section_of_its_own(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "[ceph]\nclusters = west, east\nstore_cluster = east\n"
        "[ceph.west]\nmonitors = 10.0.0.1:6789, 10.0.0.2\nuser = glance\nkeyring = /etc/ceph/west.keyring\n"
        "[ceph.east]\nconf = /etc/ceph/east.conf\n",
    )
    assert settings.ceph.store_cluster == "east"
    assert settings.ceph_clusters == (
        CephCluster("west", ("10.0.0.1:6789", "10.0.0.2"), None, "glance", Path("/etc/ceph/west.keyring")),
        CephCluster("east", (), Path("/etc/ceph/east.conf"), "stillframe", None),
    )


def test_without_a_file_there_are_no_clusters_and_none_is_needed() -> None:
    assert config.load(files=[]).ceph_clusters == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ceph]\nclusters = west\n", "[ceph.west] has neither"),
        ("[ceph]\nstore_cluster = west\n", "store_cluster is 'west'"),
        ("[ceph]\nflatten = sometimes\n", "flatten"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(tmp_path, text)
    assert said in caught.value.fault.message
