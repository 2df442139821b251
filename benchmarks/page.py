"""The page of the comparison: a table per row, and the bars of the plan as one number each.

Pure arithmetic over what was measured: medians, spreads and ratios of medians. A run with a fault counts nowhere.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

from rows import Row
from runs import Usage

MEMORY_BAR_BYTES = 300_000_000


@dataclass
class Result:
    row: Row
    usages: dict[str, list[Usage]] = field(default_factory=dict)

    def _of(self, name: str, read: Callable[[Usage], float]) -> list[float]:
        return [read(usage) for usage in self.usages.get(name, []) if not usage.fault]

    def cpu_s(self, name: str) -> list[float]:
        return self._of(name, lambda usage: usage.cpu_s)

    def wall_s(self, name: str) -> list[float]:
        return self._of(name, lambda usage: usage.wall_s)

    def peak_bytes(self, name: str) -> list[float]:
        return self._of(name, lambda usage: float(usage.peak_bytes))

    def faults(self, name: str) -> list[str]:
        return [usage.fault for usage in self.usages.get(name, []) if usage.fault]

    def named(self, start: str) -> str:
        """The client whose name begins so; of several, the one that needed the least CPU. '' for none that ran well."""
        found = [name for name in self.usages if name.startswith(start) and self.cpu_s(name)]
        return min(found, key=lambda name: statistics.median(self.cpu_s(name)), default="")

    @property
    def ours(self) -> str:
        return next((client.name for client in self.row.clients if client.ours and self.cpu_s(client.name)), "")


def spread(values: list[float], factor: float = 1.0, digits: int = 2) -> str:
    """Return `median (least–most)`; one value stands alone."""
    scaled = sorted(value * factor for value in values)
    if not scaled:
        return "–"
    middle = f"{statistics.median(scaled):,.{digits}f}"
    return middle if len(scaled) == 1 else f"{middle} ({scaled[0]:,.{digits}f}–{scaled[-1]:,.{digits}f})"


def ratio(ours: list[float], theirs: list[float]) -> float | None:
    return statistics.median(ours) / statistics.median(theirs) if ours and theirs else None


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ×"


def peak_text(usages: list[Usage]) -> str:
    """Return the worst peak in MB; "≤ n" where it lies below what the kernel can tell (see Usage)."""
    worst = max((usage for usage in usages if not usage.fault), key=lambda usage: usage.peak_bytes, default=None)
    if worst is None:
        return "–"
    return f"{'≤ ' if worst.peak_bytes <= worst.least_bytes else ''}{worst.peak_bytes / 1e6:.0f}"


def wall_text(usages: list[Usage]) -> str:
    """Return the wall times; "> n" where every run was ended before it was done."""
    if usages and all(usage.late for usage in usages):
        return f"> {min(usage.wall_s for usage in usages):.0f}"
    return spread([usage.wall_s for usage in usages if not usage.fault])


def table(result: Result) -> list[str]:
    row, ours = result.row, result.ours
    digits = 2 if row.unit == "s/GiB" else 0
    lines = [f"### {row.title}", "", *([row.note, ""] if row.note else [])]
    lines += [
        f"| client | CPU, {row.unit} | asyncdl needs | wall, s | asyncdl needs | peak RSS, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for client in row.clients:
        cpu, wall, usages = result.cpu_s(client.name), result.wall_s(client.name), result.usages[client.name]
        cpu_ratio = "" if client.ours else times(ratio(result.cpu_s(ours), cpu))
        wall_ratio = "" if client.ours else times(ratio(result.wall_s(ours), wall))
        lines.append(
            f"| {client.name} | {spread(cpu, 1 / row.amount, digits)} | {cpu_ratio} "
            f"| {wall_text(usages)} | {wall_ratio} | {peak_text(usages)} |"
        )
    for client in row.clients:
        for fault in sorted(set(result.faults(client.name))):
            n = result.faults(client.name).count(fault)
            lines += ["", f"{client.name}, {n} of {len(result.usages[client.name])} runs: {fault.splitlines()[-1]}"]
    return [*lines, ""]


@dataclass(frozen=True)
class Bar:
    what: str
    measured: float | None
    bar: float
    unit: str = "×"

    def line(self) -> str:
        if self.measured is None:
            return f"| {self.what} | not measured | ≤ {self.bar:g} {self.unit} | – |"
        held = "yes" if self.measured <= self.bar else "**no**"
        shown = f"{self.measured:.0f}" if self.unit == "MB" else f"{self.measured:.2f}"
        return f"| {self.what} | {shown} {self.unit} | ≤ {self.bar:g} {self.unit} | {held} |"


def bars(results: dict[str, Result], hash_s_per_gib: float) -> list[Bar]:
    """The rows of the plan that were measured here, each as one number."""
    found: list[Bar] = []
    if "plain" in results:
        one = results["plain"]
        mine, checked, unchecked = one.cpu_s(one.ours), one.named("aria2 -x16 --"), one.named("aria2 -x16, no")
        apart = [cpu_s - hash_s_per_gib * one.row.amount for cpu_s in mine]
        found += [
            Bar("plain, sha256 by both: CPU of aria2 --checksum", ratio(mine, one.cpu_s(checked)), 0.75),
            Bar(
                "plain, sha256 by both: wall of aria2 --checksum",
                ratio(one.wall_s(one.ours), one.wall_s(checked)),
                0.65,
            ),
            Bar("plain, hash apart: CPU of aria2 without a digest", ratio(apart, one.cpu_s(unchecked)), 0.65),
            Bar(
                "plain, hash apart: CPU of the bare loop (the cheaper)",
                ratio(apart, one.cpu_s(one.named("bare"))),
                1.15,
            ),
        ]
    if "tls" in results:
        one = results["tls"]
        found.append(
            Bar(
                "TLS, sha256 by both: CPU of aria2 --checksum",
                ratio(one.cpu_s(one.ours), one.cpu_s(one.named("aria2 -x16 --"))),
                0.8,
            )
        )
    if "objects" in results:
        one = results["objects"]
        found.append(
            Bar(
                "5 000 objects: CPU of s5cmd (the cheaper)",
                ratio(one.cpu_s(one.ours), one.cpu_s(one.named("s5cmd"))),
                0.35,
            )
        )
    if "slow" in results:
        one = results["slow"]
        found.append(
            Bar("one slow connection: wall, of the ideal", ratio(one.wall_s(one.ours), [one.row.ideal_s or 0.0]), 1.15)
        )
    for key, name in (("memory-file", "2 GiB"), ("memory-objects", "20 000 objects")):
        if key in results:
            peak = max(results[key].peak_bytes(results[key].ours), default=None)
            found.append(
                Bar(f"peak memory of run --workers 128, {name}", peak and peak / 1e6, MEMORY_BAR_BYTES / 1e6, "MB")
            )
    return found


def start_apart(results: dict[str, Result], hash_s_per_gib: float, start_s: float) -> str:
    """Return a sentence about the data path alone: start-up does not grow with the file, as the rest does."""
    one = results.get("plain")
    if one is None:
        return ""
    apart = [cpu_s - start_s - hash_s_per_gib * one.row.amount for cpu_s in one.cpu_s(one.ours)]
    needs = ratio(apart, one.cpu_s(one.named("bare")))
    return f" With that apart as well, asyncdl needs {times(needs)} of the bare loop's CPU for the plain file."


def how(results: dict[str, Result], hash_s_per_gib: float, start_s: float) -> list[str]:
    """Return the paragraphs that say how to read the tables."""
    reading = (
        "In the columns `asyncdl needs` is asyncdl's median divided by that client's. Figures are medians (least–most) "
        "of the rounds; peak RSS is of the largest process of the client's tree, in the worst round. asyncdl computes "
        "a digest in every row, and after each run all files were compared with the true sha256."
    )
    apart = (
        f"sha256 alone cost {hash_s_per_gib:.2f} s of CPU per GiB here, by the same hashlib in the same run; "
        '"hash apart" is user + system of asyncdl less that. '
        f"`asyncdl run` with nothing left to do cost {start_s:.2f} s of CPU, which every asyncdl line contains."
        f"{start_apart(results, hash_s_per_gib, start_s)}"
    )
    return [reading, "", apart]


def page(results: dict[str, Result], hash_s_per_gib: float, start_s: float, about: str) -> str:
    lines = ["# Transfers: asyncdl beside its peers", "", about, ""]
    lines += ["| bar of the plan: asyncdl needs at most | measured | bar | held |", "|---|---:|---:|---|"]
    lines += [bar.line() for bar in bars(results, hash_s_per_gib)]
    lines += ["", *how(results, hash_s_per_gib, start_s), ""]
    for result in results.values():
        lines += table(result)
    return "\n".join(
        line if line.startswith("|") else textwrap.fill(line, 120, break_on_hyphens=False) for line in lines
    )
