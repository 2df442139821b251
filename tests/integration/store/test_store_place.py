"""A queue may live on a disk of this machine and nowhere else."""

from pathlib import Path

import pytest

from asyncdl.errors import ConfigError
from asyncdl.store import place

MOUNTS = r"""21 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:5 / /proc rw,nosuid - proc proc rw
30 21 0:40 / /home rw - nfs4 server:/home rw,addr=10.0.0.1
31 30 252:2 / /home/me/local rw - xfs /dev/vdb rw
32 21 0:41 / /mnt/a\040b rw - fuse.sshfs me@host: rw
33 21 0:42 / /mnt/over rw - nfs server:/x rw
34 21 252:3 / /mnt/over rw master:2 propagate_from:1 - btrfs /dev/vdc rw
35 21 0:43 / /mnt/back\134slash rw - cifs //server/share rw
36 21 0:44 / /mnt/data rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/queue", "ext4"),
        ("/home", "nfs4"),
        ("/home/you", "nfs4"),
        ("/home/me/local/deep/er", "xfs"),
        ("/home/me/local2", "nfs4"),
        ("/homes", "ext4"),
        ("/mnt/a b/x", "fuse.sshfs"),
        ("/mnt/over/x", "btrfs"),
        (r"/mnt/back\slash/x", "cifs"),
        ("/mnt/data", "tmpfs"),
        ("/mnt/database", "ext4"),
        ("/", "ext4"),
    ],
)
def test_the_longest_and_latest_mount_point_decides(path, kind):
    assert place.file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "fuse.sshfs", "virtiofs", "9p", "ceph"])
def test_network_file_systems_are_refused_with_a_way_out(kind, tmp_path, monkeypatch):
    table = f"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {tmp_path} rw - {kind} server:/x rw\n"
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(table, encoding="utf-8")
    monkeypatch.setattr(place, "MOUNTINFO", mountinfo)
    with pytest.raises(ConfigError, match=kind.replace(".", r"\.")) as told:
        place.refuse_network(tmp_path / "queue.sqlite")
    assert "--queue" in str(told.value.hint)


def test_a_link_to_a_network_file_system_is_seen_through(tmp_path, monkeypatch):
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    near.symlink_to(far)
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {far} rw - nfs x rw\n", encoding="utf-8")
    monkeypatch.setattr(place, "MOUNTINFO", mountinfo)
    with pytest.raises(ConfigError):
        place.refuse_network(near / "queue.sqlite")
    link = tmp_path / "queue.sqlite"
    link.symlink_to(far / "queue.sqlite")
    with pytest.raises(ConfigError):
        place.refuse_network(link)
