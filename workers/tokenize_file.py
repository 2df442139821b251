"""One Parquet file of text becomes shards of packed sequences: read, encode, pack, write.

Memory is bounded by a batch of text and a row group of sequences. A file without documents makes no shard
and is no failure: filters upstream leave such files behind, and their zero counts belong into the manifest.
"""

from __future__ import annotations

from workers import shards, text, tokens
from workers.contract import Tokenized, TokenizeTask
from workers.packing import Packer


def run(task: TokenizeTask) -> Tokenized:
    """Raises Refused: what `text.batches`, `tokens.load`, `Encoder.encode` and `shards.writing` raise."""
    encoder = tokens.load(task.tokenizer_path, task.tokenizer_sha256)
    packer = Packer(task.max_seq_length, task.eos_id)
    text_bytes = 0
    with shards.writing(task) as writer:
        for documents, n_bytes in text.batches(task.source_path, task.text_column):
            writer.add(packer.add(*encoder.encode(documents)))
            text_bytes += n_bytes
        last, n_padding = packer.finish()
        published = writer.finish(last, n_padding)
    return Tokenized(
        shards=published,
        n_documents=packer.n_documents,
        n_tokens=packer.n_tokens,
        n_padding=n_padding,
        n_dropped=0,
        text_bytes=text_bytes,
        backend=encoder.backend,
    )
