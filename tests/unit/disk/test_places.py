from dataclasses import replace
from pathlib import Path

from asyncdl.core.model import Recipe
from asyncdl.core.names import MAX_NAME_BYTES, safe_path
from asyncdl.disk.layout import corrupted_path, final_path, logs_dir, partial_path, tokenized_dir, tokenizers_dir

DATA = Path("/data")


def test_an_artifact_lives_under_its_dataset():
    path = final_path(DATA, safe_path("raw/org--name"), safe_path("data/swe/0.parquet"))
    assert path == Path("/data/raw/org--name/data/swe/0.parquet")
    assert partial_path(path).name == "0.parquet.partial"
    assert corrupted_path(path).name == "0.parquet.corrupted"
    assert partial_path(path).parent == path.parent


def test_long_names_are_cut_and_still_told_apart():
    names = ["x" * 255, "x" * 254 + "y", "é" * 127, "x" * 247, "x" * 246, "日" * 85]
    made = [make(Path("/d") / name).name for name in names for make in (partial_path, corrupted_path)]
    assert len(set(made)) == len(made)
    assert all(len(name.encode()) <= MAX_NAME_BYTES for name in made)
    assert all(name.endswith((".partial", ".corrupted")) for name in made)


def test_other_things_have_places_of_their_own():
    recipe = Recipe(
        name="llama-8192", tokenizer="llama", tokenizer_path="/t", tokenizer_sha256="a", eos_id=0, max_seq_length=8192
    )
    assert tokenized_dir(DATA, recipe) == Path("/data/tokenized/llama-8192")
    assert tokenized_dir(DATA, replace(recipe, output_dir="/elsewhere")) == Path("/elsewhere")
    assert len({tokenizers_dir(DATA), logs_dir(DATA), tokenized_dir(DATA, recipe), DATA / "raw"}) == 4
