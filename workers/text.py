"""The documents of one source, in file order, in batches bounded by bytes and by number.

What kind of file it is says its name. Nulls are skipped; empty strings are documents. Memory is bounded by a
batch, or a document, whatever the file. Knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

from workers import json_lines, text_column
from workers.batch import Batch, Counts, grouped
from workers.contract import Source, TokenizeTask
from workers.formats import format_of


def batches(task: TokenizeTask, source: Source, max_text_bytes: int, counts: Counts) -> Iterator[Batch]:
    """Yield all documents; those of more than max_text_bytes come in pieces. `counts` is added to on the way.

    A file whose name says nothing is read as Parquet, which says itself what it is.
    Raises Refused: missing_file; of Parquet bad_footer, missing_column, not_text, bad_pages; of JSON lines
    empty_file, bad_compression, bad_lines, no_room.
    """
    form = format_of(source.path)
    if form is not None and form.kind == "json_lines":
        rules = json_lines.Rules(task.text_column, max_text_bytes, task.max_bad_share, task.output_dir)
        return grouped(json_lines.parts(source, rules, counts))
    return grouped(text_column.parts(source, task.text_column, max_text_bytes, counts))
