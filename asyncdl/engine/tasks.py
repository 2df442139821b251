"""A job of the pool becomes a task for a worker: what it reads, where it writes, how long it may take.

Reads the queue, changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asyncdl.core.model import Dataset, Job
from asyncdl.core.names import SafePath, group_stem, shard_stem, split_name
from asyncdl.core.stages import USUAL_TEXT_FIELD
from asyncdl.disk.layout import final_path, tokenized_dir
from asyncdl.engine.attempts import RefusedError
from asyncdl.errors import TransferError
from asyncdl.store.reader import Reader
from workers.contract import PART_BYTES, Part, Source, SurveyTask, TokenizeTask, VerifyTask

TIMEOUT_BASE_S = 60.0
VERIFY_BYTES_PER_S = 20e6
TOKENIZE_BYTES_PER_S = 100e3
"""A task that is slower than this is hung. Verify: a tenth of the full decode measured (0.2 GB/s). Tokenize: a
tenth of the slowest backend on compressed text (1 MB/s)."""


def place_of(data_dir: Path, dataset: Dataset, path: SafePath) -> Path:
    """Return where a file of the dataset lies: below the data dir, or where it always was."""
    if dataset.source == "local":
        return Path(dataset.origin, path)
    return final_path(data_dir, dataset.local_root, path)


def source_id_of(dataset: Dataset, path: SafePath) -> str:
    """Return the name of a source that stands in its shards."""
    return f"{dataset.name}@{dataset.revision}/{path}"


class Tasks:
    """Owns nothing; every answer is as the queue is now."""

    def __init__(self, reader: Reader, data_dir: Path) -> None:
        self._reader = reader
        self._data_dir = data_dir

    def files_of(self, job: Job, dataset: Dataset) -> list[SafePath]:
        """Return the files that the job is about: one, or those of a group of small ones."""
        return (self._reader.inputs(dataset.id, job.path) if dataset.source == "local" else None) or [job.path]

    def verified(self, job: Job) -> dict[str, Any]:
        """Return what verify has found of the job's file or group; {} where it has not come to its end."""
        return self._reader.verified(job.dataset_id, job.path)

    def verify(self, job: Job, dataset: Dataset) -> tuple[VerifyTask | SurveyTask, float]:
        """Return the task, and the seconds it may take."""
        timeout_s = TIMEOUT_BASE_S + (job.size_bytes or 0) / VERIFY_BYTES_PER_S
        files = self.files_of(job, dataset)
        paths = tuple(str(place_of(self._data_dir, dataset, file)) for file in files)
        if files != [job.path]:
            return SurveyTask(paths=paths), timeout_s
        is_local = dataset.source == "local"
        task = VerifyTask(
            path=paths[0],
            size_bytes=None if is_local else job.size_bytes,
            required_columns=(dataset.text_field,) if dataset.text_field else (),
            decode=job.digest is None and not is_local,  # the tokenizer reads each page of the column that matters
            text_column=dataset.text_field or USUAL_TEXT_FIELD,
            hash=is_local,
            part_bytes=PART_BYTES,
        )
        return task, timeout_s

    def output_dir(self, job: Job, dataset: Dataset) -> Path:
        """Return the folder of the split that the job's shards belong to."""
        recipe = self._reader.recipe(job.recipe_id)
        return tokenized_dir(self._data_dir, recipe) / split_name(dataset.name, dataset.subset)

    def tokenize(self, job: Job, dataset: Dataset) -> tuple[TokenizeTask, float]:
        """Return the task, and the seconds it may take.

        Raises TransferError("unverified") where verify has not come to its end, RefusedError where the file has fewer
        parts by now.
        """
        recipe = self._reader.recipe(job.recipe_id)
        options = recipe.options
        files = self.files_of(job, dataset)
        found = self.verified(job)
        if not found:
            raise TransferError("unverified", f"{job.path} must be looked at first")
        parts: list[Part] = [(first, end) for first, end in found.get("parts", ())]
        if job.part and job.part >= len(parts):
            raise RefusedError("wrong_size", f"{job.path} has changed since it was looked at")
        n_parts = max(len(parts), 1)
        task = TokenizeTask(
            sources=tuple(
                Source(
                    path=str(place_of(self._data_dir, dataset, file)),
                    source_id=source_id_of(dataset, file),
                    part=parts[job.part] if n_parts > 1 else None,
                )
                for file in files
            ),
            text_column=options.text_field or dataset.text_field or USUAL_TEXT_FIELD,
            tokenizer_path=recipe.tokenizer_path,
            tokenizer_sha256=recipe.tokenizer_sha256,
            eos_id=recipe.eos_id,
            max_seq_length=recipe.max_seq_length,
            labels=options.labels,
            max_shard_tokens=options.max_shard_tokens,
            output_dir=str(self.output_dir(job, dataset)),
            shard_stem=shard_stem(job.path) if files == [job.path] else group_stem(job.path),
            part=job.part,
            n_parts=n_parts,
            job_id=job.id,
            attempt=job.attempt,
            packing=options.packing,
            bos_id=options.bos_id,
            add_eos=options.add_eos,
            drop_last=options.drop_last,
            seq_lengths=options.seq_lengths,
            compression=options.compression,
            max_bad_share=options.max_bad_share,
        )
        return task, TIMEOUT_BASE_S + (job.size_bytes or 0) / TOKENIZE_BYTES_PER_S
