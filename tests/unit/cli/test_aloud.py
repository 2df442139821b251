from asyncdl.cli.session import Aloud
from asyncdl.core.events import DiskPaused, DiskResumed, JobEnded


class Heard:
    def __init__(self):
        self.lines = []

    def info(self, line):
        self.lines.append(line)


def ended(error_class, kind="download"):
    return JobEnded(
        kind=kind, dataset="a/b", path="x", attempt=1, outcome="retry", error_class=error_class, message="it broke"
    )


def test_each_class_of_error_is_said_once_for_each_kind():
    heard = Heard()
    aloud = Aloud(heard)
    for event in (ended("dropped"), ended("dropped"), ended("stalled"), ended("dropped", kind="verify"), ended(None)):
        aloud.tell(event)
    assert [line.split(":")[0] for line in heard.lines] == ["download dropped", "download stalled", "verify dropped"]
    assert "it broke" in heard.lines[0]
    assert "asyncdl status" in heard.lines[0]


def test_a_pause_of_the_disk_and_its_end_are_said():
    heard = Heard()
    aloud = Aloud(heard)
    aloud.tell(DiskPaused(needed_bytes=10, free_bytes=2048))
    aloud.tell(DiskResumed(free_bytes=10**9))
    assert "2.0 KiB free" in heard.lines[0]
    assert "going on" in heard.lines[1]
