"""Where a queue may live, and which process is which. Reads /proc; where there is none, it knows less.

SQLite's WAL needs memory shared by one host, so a queue on a network file system is refused
(sqlite.org/wal.html: "WAL does not work over a network filesystem").
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from asyncdl.errors import ConfigError

NETWORK_FILE_SYSTEMS = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph-fuse", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "weka", "wekafs",
})  # fmt: skip
"""Names as /proc/self/mountinfo has them; virtiofs and 9p are folders of another machine's kernel."""


MOUNTINFO = Path("/proc/self/mountinfo")


def file_system_of(path: Path, mountinfo: str) -> str:
    """Return the type of the mount that holds `path` (absolute, resolved); the longest mount point wins.

    mountinfo: the text of /proc/self/mountinfo (proc_pid_mountinfo(5)); a later mount hides an earlier one.
    """
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = _unescape(left.split(" ")[4])
        inside = point == "/" or str(path) == point or str(path).startswith(point + "/")
        if inside and len(point) >= best:
            best, kind = len(point), right.split(" ")[0]
    return kind


def _unescape(field: str) -> str:
    """Blanks, tabs, newlines and backslashes in a mount point are octal escapes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def refuse_network(path: Path) -> None:
    """Raise ConfigError if `path`, a file that may not exist yet, is on a network file system."""
    if not MOUNTINFO.exists():
        return
    kind = file_system_of(path.resolve(), MOUNTINFO.read_text(encoding="utf-8", errors="replace"))
    if kind in NETWORK_FILE_SYSTEMS:
        raise ConfigError(
            f"the queue {path} would be on a network file system ({kind}), where SQLite loses data",
            hint="put it on a local disk with --queue or ASYNCDL_QUEUE; the data dir may stay where it is",
        )


def host() -> str:
    return socket.gethostname()


def identity(pid: int) -> str | None:
    """Return a text that no other process ever has, or None if `pid` does not run or cannot be told apart.

    Boot, pid namespace, pid and the start time in clock ticks since boot: pids are used again, this is not.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may itself hold anything
    if fields[0] in ("Z", "X"):
        return None
    return f"{boot} {namespace} {pid} {fields[19]}"


def is_gone(known: str) -> bool:
    """Whether the process that `identity` called `known` has surely ended.

    A process of another boot is gone, because a queue lives on a disk of one machine. One of another pid namespace
    cannot be judged: it may run in a container, and containers can show a boot id of their own (systemd-nspawn).
    """
    mine = identity(os.getpid())
    if mine is None or known.count(" ") != 3:
        return False
    boot, namespace, pid, _ = known.split(" ")
    my_boot, my_namespace, _, _ = mine.split(" ")
    if namespace != my_namespace:
        return False
    return boot != my_boot or identity(int(pid)) != known
