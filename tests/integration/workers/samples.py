"""What the tests of `workers` are made from: texts, a small trained tokenizer, Parquet files and their damage."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from workers import entry
from workers.contract import InspectTokenizerTask, Source, TokenizeTask, VerifyTask

EOS = "<|endoftext|>"
BOS = "<|begin|>"

TEXTS = [
    "All human beings are born free and equal in dignity and rights.",
    "Alla människor är födda fria och lika i värde och rättigheter.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "人人生而自由，在尊严和权利上一律平等。",
    "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "",
    " \n\t  two  spaces\r\n\x00 and a combining e\u0301, a \U0001f9ea and \ufeff a mark",
    f"a literal {EOS} inside a text",
]


def train_tokenizer(folder: Path) -> Path:
    """A byte-level BPE of 400 tokens that would add BOS if asked, and a tokenizer_config.json that names EOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[EOS, BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    bos = (BOS, tokenizer.token_to_id(BOS))
    tokenizer.post_processor = processors.TemplateProcessing(f"{BOS} $A", special_tokens=[bos])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOS}))
    return folder


def write_texts(path: Path, texts, column="text", **options) -> Path:
    table = pa.table({"id": pa.array(range(len(texts))), column: pa.array(texts, pa.string())})
    pq.write_table(table, path, **options)
    return path


def verify(path: Path, size_bytes=None, columns=(), decode=False):
    return entry.run(VerifyTask(path=str(path), size_bytes=size_bytes, required_columns=tuple(columns), decode=decode))


def tokenize_task(source: Path, tokenizer_folder: Path, output: Path, **changes) -> TokenizeTask:
    info = entry.run(InspectTokenizerTask(path=str(tokenizer_folder)))
    fields = {
        "sources": (Source(path=str(source), source_id="org/name@0123/data/a.parquet"),),
        "text_column": "text",
        "tokenizer_path": info.path,
        "tokenizer_sha256": info.sha256,
        "eos_id": info.eos_id,
        "max_seq_length": 16,
        "labels": "shifted",
        "max_shard_tokens": 1 << 20,
        "output_dir": str(output),
        "shard_stem": "shard_a",
        "job_id": 7,
        "attempt": 1,
    }
    return TokenizeTask(**(fields | changes))


def flip_bit_in_chunk(path: Path, row_group: int, column: int) -> None:
    """In the last byte of a column chunk: of its last data page."""
    chunk = pq.read_metadata(path).row_group(row_group).column(column)
    content = bytearray(path.read_bytes())
    content[(chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


def edit_footer(path: Path, old: bytes, new: bytes) -> None:
    """Replace the first `old` in the footer; structs of Thrift's compact protocol carry no lengths."""
    content = path.read_bytes()
    n = int.from_bytes(content[-8:-4], "little")
    body, footer = content[: -8 - n], content[-8 - n : -8]
    assert old in footer
    footer = footer.replace(old, new, 1)
    path.write_bytes(body + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def thrift_i64(n: int, field_step: int) -> bytes:
    """An i64 field as Thrift's compact protocol writes it: header, zigzag, base 128."""
    n = n << 1 if n >= 0 else (-n << 1) - 1
    groups = []
    while True:
        groups.append(n & 0x7F | (0x80 if n > 0x7F else 0))
        n >>= 7
        if not n:
            return bytes([field_step << 4 | 6, *groups])
