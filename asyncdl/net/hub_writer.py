"""Writes to one repo of the Hub through huggingface_hub, which knows LFS, its parts, and Xet. Every call blocks.

Invariant: a refusal is raised at once as TransferError, so that the library never waits for 429 or 5xx where nobody
sees it; no message holds a token or a signed URL. Who calls decides what is tried again.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._http import default_client_factory
from huggingface_hub.utils.tqdm import disable_progress_bars

from asyncdl.core.hops import origin_of
from asyncdl.core.model import Digest
from asyncdl.core.names import display
from asyncdl.core.reply import Pinned, refusal
from asyncdl.core.uploads import Local
from asyncdl.errors import TransferError

TIMEOUT_S = 100.0
"""Without a byte sent or received. A gateway of the Hub gives a commit up after 60 s (hub-docs, storage-limits)."""

N_AT_ONCE = 5
"""Files that are sent at a time; huggingface_hub's own default."""

_OURS = (408, 412, 429)

_XET_REFUSED = re.compile(r"HTTP status client error \((4(?!08|29)\d\d)\b")
"""How hf_xet, which says everything in words, tells of an answer that would be the same another time."""

Told = Callable[[str, int], None]


class Addition(CommitOperationAdd):
    """A file of a commit. Its digest is known, and what is read of it is told: (path, bytes so far of this try)."""

    told: Told

    @classmethod
    def of(cls, file: Local, told: Told) -> Addition:
        made = cls(file.path, file.place if file.content is None else file.content)
        made.upload_info.sha256 = bytes.fromhex(file.sha256)
        made.told = told
        return made

    @contextmanager
    def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:  # noqa: FBT001, FBT002 - the library's signature
        del with_tqdm
        with super().as_file() as file:
            read, n_bytes = file.read, 0

            def count(size: int = -1) -> bytes:
                nonlocal n_bytes
                block = read(size)
                n_bytes += len(block)
                self.told(self.path_in_repo, n_bytes)
                return block

            if isinstance(self.path_or_fileobj, str):
                file.read = count  # type: ignore[method-assign]
            yield file


class HubWriter:
    """endpoint: no final slash. headers: the Authorization for it; sent to that origin alone, see huggingface_hub."""

    def __init__(
        self, endpoint: str, repo: str, branch: str, headers: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._api = HfApi(endpoint=endpoint, token=False, headers=dict(headers))
        self._hub = origin_of(endpoint)
        self._repo = repo
        self._branch = branch
        self._timeout_s = timeout_s
        disable_progress_bars()
        for library in ("huggingface_hub", "httpx2"):
            logging.getLogger(library).setLevel(logging.CRITICAL)  # they log signed URLs
        set_client_factory(self._client)

    def _client(self) -> httpx2.Client:
        client = default_client_factory()  # which sets no timeout
        client.timeout = httpx2.Timeout(self._timeout_s)
        client.event_hooks["response"] = [self._heed]
        return client

    def _heed(self, response: httpx2.Response) -> None:
        if response.status_code in _OURS or response.status_code >= 500:
            raise self._refusal(response)

    def _refusal(self, response: httpx2.Response) -> TransferError:
        headers = {name.lower(): value for name, value in response.headers.items()}
        signed = origin_of(str(response.request.url)) != self._hub
        found = refusal(response.status_code, headers, pinned=Pinned(), signed=signed, now=time.time())
        said = display(headers.get("x-error-message", "")[:300])
        return TransferError(
            found.error_class, f"{found.message}{': ' if said else ''}{said}", retry_after_s=found.retry_after_s
        )

    def create_repo(self, *, private: bool) -> None:
        """Make the repo, a dataset; one that is there stays as it is. Raises TransferError, as all of these do."""
        with self._sorted():
            self._api.create_repo(self._repo, repo_type="dataset", private=private or None, exist_ok=True)

    def create_branch(self, start: str) -> None:
        with self._sorted():
            self._api.create_branch(self._repo, repo_type="dataset", branch=self._branch, revision=start, exist_ok=True)

    def send(self, additions: Sequence[Addition]) -> None:
        """Bring the content of large files to the Hub's storage; what is there already is not sent again."""
        with self._sorted():
            self._api.preupload_lfs_files(
                self._repo,
                additions,
                repo_type="dataset",
                revision=self._branch,
                num_threads=N_AT_ONCE,
                free_memory=False,
            )

    def commit(self, additions: Sequence[Addition], summary: str, parent: str) -> str:
        """Add all of it on top of `parent`, which must be the head, in one request. Return the new commit."""
        with self._sorted():
            made = self._api.create_commit(
                self._repo,
                additions,
                commit_message=summary,
                repo_type="dataset",
                revision=self._branch,
                parent_commit=parent,
            )
        return str(made.oid)

    def head(self) -> str:
        """Return the commit that the branch points to."""
        with self._sorted():
            return str(self._api.dataset_info(self._repo, revision=self._branch, expand=["sha"]).sha)

    def look(self, paths: Sequence[str], revision: str) -> dict[str, Digest | None]:
        """Return what is at those paths, as Repo.files has it; paths where nothing is are left out."""
        with self._sorted():
            entries = self._api.get_paths_info(self._repo, list(paths), repo_type="dataset", revision=revision)
        return {
            entry.path: Digest("sha256", entry.lfs.sha256) if entry.lfs else Digest("git-sha1", entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    @contextmanager
    def _sorted(self) -> Iterator[None]:
        """Turn whatever the library raises for what the other side did into a TransferError."""
        try:
            yield
        except (TransferError, HfHubHTTPError, httpx2.HTTPError, RuntimeError, ValueError, OSError) as error:
            raise self._meaning(error) from None  # the chain holds signed URLs

    def _meaning(self, error: BaseException) -> TransferError:
        cause: BaseException | None = error
        while cause is not None:  # a failed object comes wrapped in a RuntimeError
            error = cause
            match cause:
                case TransferError():
                    return cause
                case HfHubHTTPError() if cause.response is not None:
                    return self._refusal(cause.response)
                case httpx2.TimeoutException():
                    return TransferError("timeout", f"no answer within {self._timeout_s:.0f} s")
                case PermissionError():  # what hf_xet raises
                    return TransferError("forbidden", "the storage of the Hub (Xet) refused the token")
                case httpx2.HTTPError():
                    error_class = "connect" if isinstance(cause, httpx2.ConnectError) else "dropped"
                    return TransferError(error_class, f"the connection broke ({type(cause).__name__})")
            cause = cause.__cause__
        return _in_words(error)


def _in_words(error: BaseException) -> TransferError:
    """Return what an error stands for that only its text tells, which is so for all of Xet."""
    said = display(str(error)[:300])
    if isinstance(error, OSError) and (match := _XET_REFUSED.search(said)):
        error_class = "forbidden" if match[1] in ("401", "403") else "http_4xx"
        return TransferError(error_class, f"Xet answered {match[1]}; HF_HUB_DISABLE_XET=1 goes without it")
    return TransferError("odd_reply", f"{type(error).__name__}: {said}")
