"""A loopback Hub over packaged real text: what `asyncdl demo` and the tests talk to.

The server is a judge: it shares no code with the rest of asyncdl, so that an error in our reading of the
protocol cannot cancel itself out. Importing this module costs nothing; the rooms inside import aiohttp.
"""

from __future__ import annotations

from pathlib import Path


def corpus_dir() -> Path:
    """Where the packaged corpus lies: `data/`, `README.md`, `LICENSES.md` and `tokenizer/`."""
    return Path(__file__).parent / "corpus"
