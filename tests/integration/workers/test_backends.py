"""Which library makes the ids, what it must prove before, and what happens when it fails after all."""

import hashlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from tests.integration.workers.samples import BOS, EOS, TEXTS, tokenize_task, write_texts
from workers import tokens
from workers.entry import run
from workers.probe import probe_texts


class PanicException(BaseException):
    """What pyo3 makes of a Rust panic: no Exception, and of a module that cannot be imported."""


class Scripted:
    """A fastokens whose ids are right but for the texts that its script names."""

    fails_on = None
    failure = ValueError("no")
    differs_on = None
    loads = 0

    @classmethod
    def from_json_str(cls, content):
        cls.loads += 1
        return cls(content)

    def __init__(self, content):
        self._tokenizer = Tokenizer.from_str(content)

    def no_truncation(self):
        self._tokenizer.no_truncation()

    def encode_batch_flat(self, texts):
        if self.fails_on in texts:
            raise self.failure
        ids = [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        if self.differs_on in texts:
            ids[texts.index(self.differs_on)][-1] ^= 1
        flat = np.array([i for one in ids for i in one], np.uint32)
        return flat.tobytes(), np.cumsum([0, *map(len, ids)]).astype(np.uint64).tobytes()


@pytest.fixture
def scripted(monkeypatch):
    """Takes the place of the library, and is forgotten with everything loaded meanwhile."""

    class Fresh(Scripted):
        pass

    monkeypatch.setitem(sys.modules, "fastokens", SimpleNamespace(Tokenizer=Fresh))
    tokens.load.cache_clear()
    yield Fresh
    tokens.load.cache_clear()


@pytest.fixture
def task(tmp_path, tokenizer_folder):
    source = write_texts(tmp_path / "source.parquet", TEXTS * 3)
    return tokenize_task(source, tokenizer_folder, tmp_path / "out", max_shard_tokens=8 * 16)


def ids_of(task, outcome):
    tables = [pq.read_table(os.path.join(task.output_dir, shard.name)) for shard in outcome.shards]
    return pa.concat_tables(tables)["input_ids"].to_pylist()


def by_reference(task):
    """The same task with `tokenizers`, elsewhere."""
    fields = {name: getattr(task, name) for name in task.__slots__}
    other = type(task)(**fields | {"backend": "tokenizers", "output_dir": task.output_dir + "-reference"})
    outcome = run(other)
    assert outcome.backend_note == ""
    return ids_of(other, outcome)


def saved(tokenizer, folder):
    folder.mkdir(exist_ok=True)
    tokenizer.add_special_tokens([EOS])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def loaded(folder, backend="auto"):
    path = folder / "tokenizer.json"
    return tokens.load(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), backend)


def test_the_fast_library_gives_the_ids_of_the_reference_on_the_whole_probe(tokenizer_folder):
    fast, reference = loaded(tokenizer_folder), loaded(tokenizer_folder, "tokenizers")
    assert (fast.backend.split()[0], reference.backend.split()[0]) == ("fastokens", "tokenizers")
    for one, other in zip(fast.encode([*probe_texts([EOS, BOS]), *TEXTS]), reference.encode([*probe_texts([EOS, BOS]), *TEXTS]), strict=True):  # fmt: skip
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def test_special_tokens_in_a_text_are_special_to_both(tmp_path, tokenizer_folder):
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    flags = [{"lstrip": True}, {"rstrip": True}, {"single_word": True}, {"normalized": True}, {"special": True}, {}]
    tokenizer.add_tokens([AddedToken(f"<{n}>", **{"normalized": False} | flag) for n, flag in enumerate(flags)])
    folder = saved(tokenizer, tmp_path / "odd")
    text = "".join(f"a <{n}> b<{n}>c <{n}>\n{EOS}{BOS} " for n in range(len(flags)))
    assert loaded(folder).note == ""
    flat = loaded(folder).encode([text])[0].tolist()
    assert flat == loaded(folder, "tokenizers").encode([text])[0].tolist()
    assert flat.count(tokenizer.token_to_id(EOS)) == len(flags)


def test_word_piece_falls_back_and_says_why(task, tmp_path):
    words = ["[UNK]", "all", "human", "being", "##s", "are", "born", "free", "and", ".", "a", "##l", "##ler"]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    other = tokenize_task(Path(task.sources[0].path), saved(tokenizer, tmp_path / "bert"), tmp_path / "out")
    outcome = run(other)
    assert outcome.backend.startswith("tokenizers ")
    assert "unsupported normalizer" in outcome.backend_note
    assert ids_of(other, outcome) == by_reference(other)
    assert len({i for row in ids_of(other, outcome) for i in row}) > 6


def test_a_vocabulary_with_other_ids_on_the_probe_falls_back_and_names_the_text(task, scripted):
    scripted.differs_on = probe_texts([])[3]
    outcome = run(task)
    assert outcome.backend.startswith("tokenizers ")
    assert "gives other ids for 'B\\xfct\\xfcn insanlar" in outcome.backend_note
    assert ids_of(task, outcome) == by_reference(task)


@pytest.mark.parametrize("failure", [ValueError("out of luck"), PanicException("out of luck")])
def test_a_failure_on_the_probe_falls_back(task, scripted, failure):
    scripted.fails_on, scripted.failure = probe_texts([])[5], failure
    outcome = run(task)
    assert outcome.backend.startswith("tokenizers ")
    assert "out of luck" in outcome.backend_note


@pytest.mark.parametrize("failure", [ValueError("out of luck"), PanicException("out of luck")])
def test_a_failure_on_a_text_has_the_whole_file_done_by_the_reference(task, scripted, failure):
    scripted.fails_on, scripted.failure = TEXTS[-1], failure
    outcome = run(task)
    assert outcome.backend.startswith("tokenizers ")
    assert "failed on a text: out of luck" in outcome.backend_note
    assert ids_of(task, outcome) == by_reference(task)
    assert len(outcome.shards) == len(os.listdir(task.output_dir))


def test_after_a_failure_on_a_text_the_next_file_gets_a_fresh_fast_one(task, scripted, tmp_path):
    scripted.fails_on = TEXTS[-1]
    run(task)
    n_loads = scripted.loads
    write_texts(Path(task.sources[0].path), TEXTS[:3])
    assert run(task).backend.startswith("fastokens ")
    assert scripted.loads == n_loads + 1


def test_without_the_library_the_reference_is_taken(task, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastokens", None)
    tokens.load.cache_clear()
    outcome = run(task)
    tokens.load.cache_clear()
    assert outcome.backend.startswith("tokenizers ")
    assert outcome.backend_note == "fastokens is not installed"


def test_trouble_of_the_machine_is_not_taken_for_a_failure_of_the_library(task, scripted):
    scripted.fails_on, scripted.failure = TEXTS[0], MemoryError()
    with pytest.raises(MemoryError):
        run(task)


def test_a_probe_the_reference_cannot_encode_proves_nothing(task, tmp_path, scripted):
    odd = saved(Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]")), tmp_path / "odd")
    write_texts(Path(task.sources[0].path), ["a"])
    outcome = run(tokenize_task(Path(task.sources[0].path), odd, tmp_path / "out"))
    assert "cannot be compared" in outcome.backend_note
    assert scripted.loads <= 1
