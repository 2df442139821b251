"""asyncdl: the name of a dataset becomes verified, training-ready shards on disk."""

__version__ = "0.1.0"
