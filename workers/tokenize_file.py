"""Sources of text, one after the other, become shards of packed sequences: read, encode, pack, write.

Memory is bounded by a batch of text and a row group of sequences. Sources without documents make no shard and
are no failure: filters upstream leave such files behind, and their zero counts belong into the manifest.
"""

from __future__ import annotations

import time
from dataclasses import replace

from workers import shards, text, tokens
from workers.batch import Counts
from workers.contract import RefusedSource, Source, Tokenized, TokenizeTask
from workers.packing import BestFit, Concat, Rules
from workers.refused import Refused

_OF_THE_TASK = ("no_room", "bad_tokenizer")
"""What is refused for no fault of any one source."""

_RSS_BYTES = 1_200_000_000  # guess: fresh tokenizers hold 0.4 GB and 40 MB of text add 0.1-0.2 (fastokens, measured)


def run(task: TokenizeTask) -> Tokenized:
    """Raises Refused: what `text.batches`, `tokens.load`, `Encoder.encode` and `shards.writing` raise.

    One source that cannot be read does not take the others with it: it is left out and told, and the shards are
    those of the task without it. Only where none is left, the first refusal is raised.
    """
    started_s = time.process_time()
    try:
        outcome = _of_readable(task)
    finally:
        tokens.release_beyond(_RSS_BYTES)
    return replace(outcome, cpu_s=time.process_time() - started_s)


def _of_readable(task: TokenizeTask) -> Tokenized:
    try:
        return _by_right_backend(task)
    except Refused as refused:
        if len(task.sources) == 1 or refused.error_class in _OF_THE_TASK:
            raise
        readable, left_out = _sorted_out(task)
        if not readable or not left_out:
            raise
    return replace(_by_right_backend(replace(task, sources=readable)), refused=left_out)


def _sorted_out(task: TokenizeTask) -> tuple[tuple[Source, ...], tuple[RefusedSource, ...]]:
    """Read all sources to their ends, for nothing else; the pass that wrote stopped at the first that is bad."""
    readable, refused = [], []
    for source in task.sources:
        try:
            for batch in text.batches(task, source, tokens.MAX_TEXT_BYTES, Counts()):
                batch.texts.clear()
            readable.append(source)
        except Refused as reason:
            if reason.error_class in _OF_THE_TASK:
                raise
            told = RefusedSource(source_id=source.source_id, error_class=reason.error_class, message=reason.message)
            refused.append(told)
    return tuple(readable), tuple(refused)


def _by_right_backend(task: TokenizeTask) -> Tokenized:
    """Where the fast library fails on a text, all is done again with the reference, so that the ids and the record
    of what made them do not depend on how the text came in batches. The tokenizers are then loaded anew: a
    panic may have left one unusable.
    """
    encoder = tokens.load(task.tokenizer_path, task.tokenizer_sha256, task.backend)
    try:
        return _tokenize(task, encoder)
    except tokens.FastFailedError as error:
        tokens.load.cache_clear()
        reference = tokens.load(task.tokenizer_path, task.tokenizer_sha256, "tokenizers")
        return replace(_tokenize(task, reference), backend_note=str(error))


def _tokenize(task: TokenizeTask, encoder: tokens.Encoder) -> Tokenized:
    packer = _packer(task)
    counts = Counts()
    text_bytes = n_split = n_special = 0
    with shards.writing(task) as writer:
        for source in task.sources:
            for batch in text.batches(task, source, encoder.max_text_bytes, counts):
                flat, offsets = encoder.encode(batch.texts)
                batch.texts.clear()  # one large document may take 300 MB as a string
                n_special += tokens.count_special(flat, encoder.special)
                writer.add(packer.add(flat, offsets, ends=batch.ends))
                text_bytes += batch.n_bytes
                n_split += batch.n_split
        published = writer.finish(packer.finish())
    return Tokenized(
        shards=published,
        n_documents=packer.n_documents,
        n_tokens=packer.n_tokens,
        n_padding=packer.n_padding,
        n_dropped=packer.n_dropped,
        text_bytes=text_bytes,
        backend=encoder.backend,
        n_split=n_split,
        backend_note=encoder.note,
        histogram=packer.histogram,
        n_special=n_special,
        n_null=counts.n_null,
        n_lines=counts.n_lines,
        n_bad=tuple(sorted(counts.n_bad.items())),
        bad_lines=tuple(counts.bad_lines),
    )


def _packer(task: TokenizeTask) -> Concat | BestFit:
    rules = Rules(
        max_seq_length=task.max_seq_length,
        eos_id=task.eos_id if task.add_eos else None,
        pad_id=task.eos_id,
        bos_id=task.bos_id,
        drop_last=task.drop_last,
        seq_lengths=task.seq_lengths,
    )
    return Concat(rules) if task.packing == "concat" else BestFit(rules)
