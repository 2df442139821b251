"""The page of the comparison: a table per row, and the bars of the plan as one number each.

Pure arithmetic over what was measured: medians, spreads and ratios of medians. A run with a fault counts nowhere.
"""

from __future__ import annotations

import resource
import statistics
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

from rows import GIB, Row
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


def peak_text(peak_bytes: float) -> str:
    """A child's peak begins, in the kernel's count, with that of the process it was forked from: less is not seen."""
    own_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"≤ {own_bytes / 1e6:.0f}" if peak_bytes <= own_bytes else f"{peak_bytes / 1e6:.0f}"


def table(result: Result) -> list[str]:
    row, ours = result.row, result.ours
    digits = 2 if row.unit == "s/GiB" else 0
    lines = [f"### {row.title}", "", *([row.note, ""] if row.note else [])]
    lines += [
        f"| client | CPU, {row.unit} | asyncdl needs | wall, s | asyncdl needs | peak RSS, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for client in row.clients:
        cpu, wall, peak = result.cpu_s(client.name), result.wall_s(client.name), result.peak_bytes(client.name)
        cpu_ratio = "" if client.ours else times(ratio(result.cpu_s(ours), cpu))
        wall_ratio = "" if client.ours else times(ratio(result.wall_s(ours), wall))
        lines.append(
            f"| {client.name} | {spread(cpu, 1 / row.amount, digits)} | {cpu_ratio} | {spread(wall)} | {wall_ratio} "
            f"| {peak_text(max(peak, default=0.0))} |"
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


def start_apart(results: dict[str, Result], hash_s_per_gib: float, start_s: float) -> list[str]:
    """Return a sentence about the data path alone: start-up does not grow with the file, and the bare loop has hardly any."""
    one = results.get("plain")
    if one is None:
        return []
    amount = one.row.amount
    apart = [cpu_s - start_s - hash_s_per_gib * amount for cpu_s in one.cpu_s(one.ours)]
    needs = ratio(apart, one.cpu_s(one.named("bare")))
    return [f"With start-up apart as well, asyncdl needs {times(needs)} of the bare loop's CPU for the plain file."]


def page(results: dict[str, Result], hash_s_per_gib: float, start_s: float, about: list[str]) -> str:
    lines = ["# Transfers: asyncdl beside its peers", "", *about, ""]
    lines += ["| bar of the plan: asyncdl needs at most | measured | bar | held |", "|---|---:|---:|---|"]
    lines += [bar.line() for bar in bars(results, hash_s_per_gib)]
    lines += [
        "",
        f"sha256 alone cost {hash_s_per_gib:.2f} s of CPU per GiB here, by the same hashlib in the same run; \"hash apart\" is user + system of",
        f"asyncdl less that. `asyncdl run` with nothing left to do cost {start_s:.2f} s of CPU, which every asyncdl line contains.",
        "\"asyncdl needs\" is asyncdl's median divided by that client's. Figures are medians (least–most) of the rounds; peak RSS is the",
        "largest process of the client's tree, in the worst round. asyncdl computes sha256 in every row, and after each run all files",
        "were compared with the true sha256.",
        *start_apart(results, hash_s_per_gib, start_s),
        "",
    ]  # fmt: skip
    for result in results.values():
        lines += table(result)
    return "\n".join(lines)
