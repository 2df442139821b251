"""Tells what an upload says of a Parquet file: size, sha256, and its columns as the card of a dataset lists them.

Reads the file once for its digest, and its footer. Knows neither the Hub nor the card.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from workers.contract import DescribeFileTask, FileDescribed
from workers.parquet_file import open_parquet
from workers.refused import Refused

Feature = dict[str, Any]

_DTYPES = {
    "float": "float32",
    "double": "float64",
    "halffloat": "float16",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}


class _Unknown(Exception):  # noqa: N818 - it ends a walk, nothing failed
    """The card has no words for such a type; readers find it out by themselves."""


def run(task: DescribeFileTask) -> FileDescribed:
    """Raises Refused: missing_file, not_parquet, bad_footer. OSError where the file cannot be read."""
    path = Path(task.path)
    try:
        with path.open("rb", buffering=0) as file:
            if file.read(4) != b"PAR1":
                raise Refused("not_parquet", "does not begin as Parquet does")
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.tell()
    except FileNotFoundError as error:
        raise Refused("missing_file", "is not there any more") from error
    with open_parquet(task.path) as parquet:
        schema = parquet.schema_arrow
    try:
        features = json.dumps(_of_schema(schema))
    except _Unknown:
        features = ""
    return FileDescribed(size_bytes=size_bytes, sha256=sha256, features=features)


def _of_schema(schema: pa.Schema) -> list[Feature]:
    known = _of_metadata(schema.metadata or {})
    return [{"name": field.name} | known.get(field.name, _of_type(field.type)) for field in schema]


def _of_metadata(metadata: dict[bytes, bytes]) -> dict[str, Feature]:
    """Columns that `datasets` decodes (Audio, Image ...); as it writes them into a schema."""
    try:
        columns = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    found = {}
    for name, column in columns.items():
        kind = column.get("_type") if isinstance(column, dict) else None
        if kind in ("Audio", "Image", "Video", "Pdf"):
            options = {key: value for key, value in column.items() if key != "_type" and value is not None}
            found[name] = {"dtype": {kind.lower(): options} if options else kind.lower()}
        elif kind == "ClassLabel":
            found[name] = {"dtype": {"class_label": {"names": dict(enumerate(column.get("names", ())))}}}
    return found


def _of_type(kind: pa.DataType) -> Feature:
    """One column, without its name, as `datasets` writes features into a card."""
    if pa.types.is_list(kind):
        inner = _of_type(kind.value_type)
        if set(inner) == {"list"}:
            raise _Unknown  # how a card writes lists of lists has changed between versions of `datasets`
        return {"list": inner.get("dtype", inner.get("struct"))}
    if pa.types.is_struct(kind):
        return {"struct": [{"name": field.name} | _of_type(field.type) for field in kind]}
    name = str(kind)
    is_plain = pa.types.is_primitive(kind) and not pa.types.is_duration(kind) and not pa.types.is_time(kind)
    if is_plain or name in ("string", "large_string", "binary", "large_binary"):
        return {"dtype": _DTYPES.get(name, name)}
    raise _Unknown
