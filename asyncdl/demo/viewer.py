"""The dataset viewer's routes (datasets-server), served on the hub's port.

Answers are of main, with its sha in X-Revision; what is partial, pending or failed is the repo's Viewer.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any
from urllib.parse import quote

from asyncdl.demo.content import Content
from asyncdl.demo.exchange import Answer, Call, Refusal, json_answer
from asyncdl.demo.repos import CONVERT_REF, Repo
from asyncdl.demo.state import HubState


async def splits(state: HubState, call: Call) -> Answer:
    repo, config = _asked(state, call)
    rows = [
        {"dataset": repo.name, "config": name, "split": split} for name, split in repo.splits() if config in ("", name)
    ]
    return _answer(repo, config, {"splits": rows}, "split-names")


async def parquet(state: HubState, call: Call) -> Answer:
    repo, config = _asked(state, call)
    prefix = f"{state.endpoint}/datasets/{repo.name}/resolve/{quote(CONVERT_REF, safe='')}"
    rows = [
        {
            "dataset": repo.name,
            "config": name,
            "split": split,
            "url": f"{prefix}/{quote(path)}",
            "filename": path.rpartition("/")[2],
            "size": content.size_bytes,
        }
        for name, split, path, content in _files(repo, config)
    ]
    value: dict[str, Any] = {"parquet_files": rows, "partial": repo.viewer.partial}
    return _answer(repo, config, value | ({"features": None} if config else {}), "config-parquet")


async def size(state: HubState, call: Call) -> Answer:
    repo, config = _asked(state, call)
    rows = await asyncio.to_thread(_split_sizes, repo, config)
    configs = [
        {"dataset": repo.name, "config": name, **_sum([row for row in rows if row["config"] == name])}
        for name in dict.fromkeys(row["config"] for row in rows)
    ]
    if config:
        sizes: dict[str, Any] = {"config": configs[0], "splits": rows}
    else:
        whole = {"dataset": repo.name, **_sum(rows)}
        sizes = {"dataset": whole, "configs": configs, "splits": rows}
    return _answer(repo, config, {"size": sizes, "partial": repo.viewer.partial}, "config-size")


async def is_valid(state: HubState, call: Call) -> Answer:
    repo, _ = _asked(state, call)
    valid = bool(repo.splits())
    names = ("preview", "viewer", "search", "filter", "statistics")
    return json_answer(dict.fromkeys(names, valid), _headers(repo))


def _asked(state: HubState, call: Call) -> tuple[Repo, str]:
    """The repo and the config ("" for all of it), or the viewer's own refusals."""
    name, config = call.query("dataset"), call.query("config")
    if not name:
        raise _refusal(422, "MissingRequiredParameter", "Parameter 'dataset' is required")
    repo = state.repos.get(("dataset", name))
    hidden = repo is not None and (repo.private or repo.gated) and not (call.authorized and repo.granted)
    if repo is None or hidden or repo.disabled:
        if call.authorized:
            raise _refusal(404, "ExternalAuthenticatedError", "The dataset does not exist, or is not accessible.")
        raise _refusal(401, "ExternalUnauthenticatedError", "The dataset does not exist, or needs a token.")
    if repo.renamed_to:
        raise _refusal(404, "RenamedDatasetError", f"The dataset has been renamed to {repo.renamed_to}.")
    if repo.viewer.error:
        raise _refusal(*repo.viewer.error, "The server is busier than usual. Please retry later.", _headers(repo))
    if config and config not in {name for name, _ in repo.splits()}:
        raise _refusal(404, "ResponseNotFound", "Not found.")
    return repo, config


def _refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Refusal:
    return Refusal(json_answer({"error": message}, {"X-Error-Code": code, **(headers or {})}, status))


def _headers(repo: Repo) -> dict[str, str]:
    return {"X-Revision": repo.viewer.revision or repo.main.sha, "Cache-Control": "max-age=120"}


def _answer(repo: Repo, config: str, value: dict[str, Any], kind: str) -> Answer:
    """Without a config the answer also says what is missing from it."""
    if not config:
        for key, pairs in (("pending", repo.viewer.pending), ("failed", repo.viewer.failed)):
            value[key] = [{"kind": kind, "dataset": repo.name, "config": name, "split": split} for name, split in pairs]
    return json_answer(value, _headers(repo))


def _files(repo: Repo, config: str) -> list[tuple[str, str, str, Content]]:
    """(config, split, path in the converted branch, content), without what is pending or failed."""
    converted = repo.converted
    if converted is None:
        return []
    missing = {*repo.viewer.pending, *repo.viewer.failed}
    rows = []
    for path in converted.paths:
        name, folder, _ = path.split("/")
        split = folder.removeprefix("partial-") if repo.viewer.partial else folder
        content = converted.content(path)
        if content is not None and config in ("", name) and (name, split) not in missing:
            rows.append((name, split, path, content))
    return rows


def _split_sizes(repo: Repo, config: str) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, split, _, content in _files(repo, config):
        row = rows.setdefault(
            (name, split), {"dataset": repo.name, "config": name, "split": split, **dict.fromkeys(_SUMMED, 0)}
        )
        n_rows, memory_bytes, n_columns = _footer(content)
        row["num_rows"] += n_rows
        row["num_bytes_memory"] += memory_bytes
        row["num_bytes_parquet_files"] += content.size_bytes
        row["num_columns"] = n_columns
        row["estimated_num_rows"] = None
    return list(rows.values())


_SUMMED = ("num_rows", "num_bytes_memory", "num_bytes_parquet_files")


def _sum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    totals: dict[str, Any] = {key: sum(row[key] for row in rows) for key in _SUMMED}
    return totals | {"estimated_num_rows": None}


def _footer(content: Content) -> tuple[int, int, int]:
    """(rows, bytes in memory, columns) of a Parquet file; zeros for bytes that only bear the name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(io.BytesIO(content.read()))
    except pa.ArrowInvalid:
        return 0, 0, 0
    memory_bytes = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
    return footer.num_rows, memory_bytes, footer.num_columns
