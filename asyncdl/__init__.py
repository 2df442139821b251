"""asyncdl: the name of a dataset becomes verified, training-ready shards on disk."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncdl.loader import load_tokens

__version__ = "0.1.0"
__all__ = ["__version__", "load_tokens"]


def __getattr__(name: str) -> Any:
    """Import the loader when it is asked for: `asyncdl --help` must not wait for numpy and pyarrow."""
    if name == "load_tokens":
        from asyncdl.loader import load_tokens

        return load_tokens
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
