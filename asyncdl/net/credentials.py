"""The token, bound to the one origin it was set for. The only module that reveals it."""

from __future__ import annotations

from collections.abc import Mapping

from asyncdl import __version__
from asyncdl.core.hops import Origin, origin_of
from asyncdl.core.ranges import ByteRange
from asyncdl.core.secret import Secret

USER_AGENT = f"asyncdl/{__version__}"


class Credentials:
    """token: a Hub token or None; it is sent to `endpoint`'s origin and nowhere else."""

    def __init__(self, endpoint: str, token: Secret | None) -> None:
        self._origin: Origin = origin_of(endpoint)
        self._token = token

    def headers(self, url: str, *, asked: ByteRange | None = None) -> Mapping[str, str]:
        """Return all headers of one hop, built from nothing.

        identity: where gzip is accepted, CDNs ignore Range and answer 200 (huggingface_hub #3778). No If-Range: some
        servers dislike it, and `core.reply` holds every answer's validator against the pinned one anyway.
        """
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        if asked is not None:
            headers["Range"] = asked.header
        if self._token is not None and origin_of(url) == self._origin:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return headers
