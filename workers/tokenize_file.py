"""One Parquet file of text becomes shards of packed sequences: read, encode, pack, write.

Memory is bounded by a batch of text and a row group of sequences. A file without documents makes no shard
and is no failure: filters upstream leave such files behind, and their zero counts belong into the manifest.
"""

from __future__ import annotations

from dataclasses import replace

from workers import shards, text, tokens
from workers.contract import Tokenized, TokenizeTask
from workers.packing import BestFit, Concat, Rules


def run(task: TokenizeTask) -> Tokenized:
    """Raises Refused: what `text.batches`, `tokens.load`, `Encoder.encode` and `shards.writing` raise.

    Where the fast library fails on a text, the whole file is done again with the reference, so that its ids and
    the record of what made them do not depend on how the text came in batches. The tokenizers are then
    loaded anew: a panic may have left one unusable.
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
    text_bytes = n_split = 0
    with shards.writing(task) as writer:
        for batch in text.batches(task.source_path, task.text_column, encoder.max_text_bytes):
            flat, offsets = encoder.encode(batch.texts)
            batch.texts.clear()  # one large document may take 300 MB as a string
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
