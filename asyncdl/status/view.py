"""What is said of a snapshot, and the plain form of it: text of at most 80 columns. Pure: no clock, no queue.

What is said is decided here, in the functions that return cells and lines; `board` lays the same out for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asyncdl.core import bound
from asyncdl.core.names import display
from asyncdl.core.retry import TREATMENTS
from asyncdl.core.states import State
from asyncdl.status.figures import bytes_text, count_text, duration_text, fit, share_text, utc_text
from asyncdl.status.hosts import HostState
from asyncdl.status.snapshot import KINDS, DatasetState, EngineState, Snapshot
from asyncdl.status.spans import wrapped
from asyncdl.store.reader import ErrorRow

COLUMNS = 80
BAR_CELLS = 20
MAX_DATASETS = 30
"""Rows of subsets shown; a dataset with two thousand languages must not scroll the errors away."""

MAX_HOSTS = 20
"""Hosts that the plain text tells of; who asked for a pause is told in any case. Guess."""

MAX_EXAMPLE_LINES = 3

STATES = (State.AVAILABLE, State.RUNNING, State.COMPLETED, State.DISCARDED)

_ORDER = {State.RUNNING: 0, State.DISCARDED: 1, State.AVAILABLE: 2, State.COMPLETED: 3}


@dataclass(frozen=True, slots=True)
class DatasetCells:
    """One row of the list of datasets. group: dataset and revision, the heading above it. share in [0, 1]."""

    group: str
    title: str
    share: float
    percent: str
    files: str
    state: State


def headline(shot: Snapshot) -> str:
    """Return the one line that says where everything stands: state, amounts, rate, ETA, trouble."""
    parts = [state_text(shot), *_amounts(shot)]
    if shot.per_s > 0:
        parts.append(f"{bytes_text(shot.per_s)}/s")
    if shot.eta_s:
        parts.append(f"ETA {duration_text(shot.eta_s)}")
    n_discarded = shot.n_in(State.DISCARDED)
    if n_discarded:
        parts.append(f"{n_discarded:,} discarded")
    return ", ".join(parts)


def _amounts(shot: Snapshot) -> list[str]:
    """Return the files and bytes of the downloads; where there are none, what each kind of work has done."""
    n_done, n_files = file_counts(shot)
    if not n_files:
        return stage_texts(shot)
    share = f"{bytes_text(shot.done_bytes)} of {bytes_text(shot.known_bytes)}"
    share += f" ({share_text(shot.done_bytes, shot.known_bytes)})"
    if shot.known_bytes == 0 and n_done < n_files:
        share = "size unknown"
    return [f"{n_done:,}/{count_text(n_files, 'file')}", share]


def file_counts(shot: Snapshot) -> tuple[int, int]:
    """Return (completed, all) downloads, cancelled ones left out; (0, 0) where all files are of this machine."""
    downloads = shot.jobs.get("download", {})
    return downloads.get(State.COMPLETED, 0), sum(n for state, n in downloads.items() if state != State.CANCELLED)


def stage_texts(shot: Snapshot) -> list[str]:
    """Return `verify 1/2` for each kind that has jobs, in the order of the work."""
    return [f"{kind} {counts[State.COMPLETED]:,}/{sum(counts.values()):,}" for kind, counts in stage_counts(shot)]


def state_text(shot: Snapshot) -> str:
    """Return running, waiting (work but no engine alive), done or empty."""
    if shot.n_in(State.RUNNING, State.AVAILABLE):
        return "running" if any(engine.is_alive for engine in shot.engines) else "waiting"
    return "done" if shot.jobs else "empty"


def line(shot: Snapshot) -> str:
    """Return the headline, what the later stages do and what bounds it, for a log that gets one line now and then."""
    has_files = file_counts(shot)[1] > 0  # else the headline has told
    later = [text for text in stage_texts(shot) if has_files and not text.startswith("download ")]
    bounds = [f"bound by {', '.join(shot.bounds)}"] if shot.bounds else []
    return ", ".join([headline(shot), *later, *bounds])


def stage_counts(shot: Snapshot) -> Iterator[tuple[str, dict[State, int]]]:
    """Yield (kind, {state: n}) in the order of the work, only kinds that have jobs; cancelled ones are left out."""
    for kind in KINDS:
        counts = {state: shot.jobs.get(kind, {}).get(state, 0) for state in STATES}
        if any(counts.values()):
            yield kind, counts


def dataset_cells(shot: Snapshot) -> tuple[list[DatasetCells], str]:
    """Return the rows to show, as `in_order` has them, and what to say of the rest ('' for nothing)."""
    rows = in_order(shot.datasets)
    n_more = len(rows) - MAX_DATASETS
    more = f"and {count_text(n_more, 'more subset')}: see status --json" if n_more > 0 else ""
    return [cells(row) for row in rows[:MAX_DATASETS]], more


def in_order(datasets: Sequence[DatasetState]) -> list[DatasetState]:
    """Return the rows of one dataset together; the dataset, and in it the subset, that needs a look comes first."""
    urgency: dict[str, int] = {}
    for row in datasets:
        urgency[row.name] = min(_ORDER[row.state], urgency.get(row.name, len(_ORDER)))
    return sorted(datasets, key=lambda row: (urgency[row.name], row.name, row.revision, _ORDER[row.state], row.subset))


def by_state(datasets: Sequence[DatasetState]) -> list[DatasetState]:
    """Return what needs a look first, whatever it belongs to: where each row names its dataset."""
    return sorted(datasets, key=lambda row: (_ORDER[row.state], row.name, row.revision, row.subset))


def hosts_in_order(shot: Snapshot) -> list[HostState]:
    """Return those that asked for a pause first, then those that an engine works with, each by name."""
    closed = {name for name, _ in shot.pauses}
    return sorted(shot.hosts, key=lambda row: (row.name not in closed, not row.is_asked, row.name))


def cells(row: DatasetState) -> DatasetCells:
    """Return one row: by bytes where all sizes are known, else by files."""
    is_short = row.n_files_done < row.n_files and row.done_bytes >= row.known_bytes  # the rest is of unknown size
    by_bytes = row.known_bytes > 0 and not is_short
    done, known = (row.done_bytes, row.known_bytes) if by_bytes else (row.n_files_done, row.n_files)
    return DatasetCells(
        group=display(f"{row.name} at {row.revision[:12]}" if row.revision else row.name),
        title=display(row.subset) or "(root)",
        share=done / known if known else 1.0,
        percent=share_text(done, known),
        files=f"{row.n_files_done:,}/{row.n_files:,}",
        state=row.state,
    )


def error_lines(row: ErrorRow, now: float) -> tuple[str, str, str]:
    """Return (how often what and what happens next, an example, what to do)."""
    if row.next_retry_at is not None:
        later = row.next_retry_at - now
        then = f"next try in {duration_text(later)}" if later > 0 else "to be tried again"
    else:
        then = "being tried again"
    if row.n_discarded:
        rest = f", others {then}" if row.n_discarded < row.n else ""
        then = f"{row.n_discarded:,} discarded{rest}"
    known = TREATMENTS.get(row.error_class)
    title = f"{row.n:,} x {row.kind} {display(row.error_class)}: {then}"
    return title, display(f"{row.path}: {row.text}"), f"hint: {known.hint}" if known else ""


def engine_lines(engine: EngineState, now: float) -> list[str]:
    """Return one engine: where it is, how large, how fast, and why not faster; or that it is dead."""
    name = f"{display(engine.host)} pid {engine.pid}:"
    ago = duration_text(now - engine.beat_at)
    if not engine.is_alive:
        return [f"{name} dead, last beat {ago} ago; its jobs go to the next engine"]
    requests = count_text(engine.n_requests, "request")
    line = f"{name} {engine.workers} workers, {requests}, {bytes_text(engine.per_s)}/s, beat {ago} ago"
    return [line, *filter(None, [health_line(engine), engine.bound and bound_line(engine.bound)])]


def health_line(engine: EngineState) -> str:
    """Return what an engine feels: cores, memory, how late its loop is, busy processes; '' where it does not tell."""
    if engine.cores is None:
        return ""
    busy = f", {engine.n_pool} {'process' if engine.n_pool == 1 else 'processes'} busy" if engine.n_pool else ""
    lag = f"{engine.loop_lag_s * 1000:.0f} ms"
    return f"uses {engine.cores:.2f} cores, {bytes_text(engine.rss_bytes)}; its loop is {lag} late{busy}"


def bound_line(word: str) -> str:
    """Return what bounds an engine and what would help; a word of a newer version stands alone."""
    sentence = bound.sentence(word)
    return f"bound by {display(word)}: {sentence}" if sentence else f"bound by {display(word)}"


def traffic_text(row: HostState) -> str:
    """Return requests, rate, time to first byte and refusals of a host; '' where no engine works with it."""
    if not row.is_asked:
        return ""
    said = [f"{row.n_open} of {count_text(row.n_allowed, 'request')}", f"{bytes_text(row.per_s)}/s"]
    if row.first_byte_s is not None:
        said.append(f"first byte {row.first_byte_s * 1000:,.0f} ms")
    if row.n_refused:
        said.append(f"{row.n_refused:,} refused")
    return ", ".join(said)


def traffic_lines(shot: Snapshot) -> list[str]:
    """Return what the engines have to do with each host, MAX_HOSTS at most and how many there are beyond."""
    rows = [row for row in hosts_in_order(shot) if row.is_asked]
    return [*(f"{display(row.name)}: {traffic_text(row)}" for row in rows[:MAX_HOSTS]), *_more_hosts(rows)]


def backend_lines(shot: Snapshot) -> list[str]:
    """Return what makes the ids of each recipe, and why not the fast one."""
    return [f"{display(name)}: {display(backend)}" for name, backend in shot.backends]


def pause_lines(shot: Snapshot) -> list[str]:
    """Return who asked for a pause, and what is left of it, MAX_HOSTS at most and how many there are beyond."""
    lines = [f"{display(host)} asked for a pause, {duration_text(left_s)} left" for host, left_s in shot.pauses]
    return [*lines[:MAX_HOSTS], *_more_hosts(lines)]


def _more_hosts(rows: Sequence[object]) -> list[str]:
    n_more = len(rows) - MAX_HOSTS
    return [f"and {count_text(n_more, 'more host')}: see status --json"] if n_more > 0 else []


def hand_lines(shot: Snapshot) -> list[str]:
    """Return what a person has paused; all kinds together are everything."""
    is_all = {row.name for row in shot.paused if row.what == "kind"}.issuperset(KINDS)
    rows = [row for row in shot.paused if not (is_all and row.what == "kind")]
    lines = ["paused by hand: everything"] if is_all else []
    return lines + [f"paused by hand: {row.what} {display(row.name)}" for row in rows]


def speed_lines(shot: Snapshot) -> list[str]:
    """Return why it is not faster: what bounds the engines that are alive, then pauses."""
    return [*map(bound_line, shot.bounds), *pause_lines(shot), *hand_lines(shot)]


def disk_line(shot: Snapshot) -> str:
    """Return what is free below the data dir and what it falls short by; '' where nobody looked."""
    if shot.disk is None:
        return ""
    free = shot.disk.free_bytes
    inodes = "" if shot.disk.free_inodes is None else f", {shot.disk.free_inodes:,} inodes"
    short = (shot.remaining_bytes or 0) - free
    return f"{bytes_text(free)} free{inodes}" + (f"; {bytes_text(short)} too few for what is left" if short > 0 else "")


def plain(shot: Snapshot) -> str:
    """Return the snapshot as text without colours, no line wider than COLUMNS, ending in a newline."""
    lines = [*_wrapped(f"{utc_text(shot.at)} {headline(shot)}", 0)]
    if not shot.jobs:
        lines += ["", "the queue is empty; asyncdl enqueue TARGET fills it"]
    lines += [*_plain_stages(shot), *_plain_datasets(shot), *_plain_errors(shot)]
    lines += [*_plain_backends(shot), *_plain_engines(shot), *_plain_hosts(shot)]
    if shot.disk is not None:
        lines += ["", "disk", *_wrapped(disk_line(shot), 2)]
    return "\n".join(text.rstrip() for text in lines) + "\n"


def _plain_stages(shot: Snapshot) -> list[str]:
    rows = [
        f"{kind:<12}"
        + "".join(f"{counts[state]:>13,}" for state in STATES)
        + ("  < slowest" if kind == shot.bottleneck else "")
        for kind, counts in stage_counts(shot)
    ]
    head = f"{'jobs':<12}" + "".join(f"{state:>13}" for state in STATES)
    return ["", head, *rows] if rows else []


def _plain_datasets(shot: Snapshot) -> list[str]:
    rows, more = dataset_cells(shot)
    if not rows:
        return []
    files_width = max(len(row.files) for row in rows)
    title_width = COLUMNS - BAR_CELLS - files_width - len("  " + " " * 4 + "100%" + State.AVAILABLE)
    lines, group = [], ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines += ["", fit(group, COLUMNS)]
        filled = int(row.share * BAR_CELLS)
        bar = "#" * filled + "." * (BAR_CELLS - filled)
        title = fit(row.title, title_width)
        lines.append(f"  {title} {bar} {row.percent:>4} {row.files:>{files_width}} {row.state}")
    return [*lines, f"  {more}"] if more else lines


def _plain_errors(shot: Snapshot) -> list[str]:
    lines = []
    for row in shot.errors:
        title, example, hint = error_lines(row, shot.at)
        lines += [*_wrapped(title, 2), *_wrapped(example, 4)[:MAX_EXAMPLE_LINES], *_wrapped(hint, 4)]
    return ["", "errors", *lines] if lines else []


def _plain_engines(shot: Snapshot) -> list[str]:
    told = [line for engine in shot.engines for line in engine_lines(engine, shot.at)]
    lines = [text for line in told for text in _wrapped(line, 2)]
    return ["", "engines", *lines] if lines else []


def _plain_backends(shot: Snapshot) -> list[str]:
    lines = [text for line in backend_lines(shot) for text in _wrapped(line, 2)]
    return ["", "tokenized with", *lines] if lines else []


def _plain_hosts(shot: Snapshot) -> list[str]:
    told = [*traffic_lines(shot), *pause_lines(shot), *hand_lines(shot)]
    lines = [text for line in told for text in _wrapped(line, 2)]
    return ["", "hosts", *lines] if lines else []


def _wrapped(text: str, indent: int) -> list[str]:
    return wrapped(text, COLUMNS, indent=indent + 2, first_indent=indent)
