"""What runs in the process pool. Imports `contract` and third-party packages only, never asyncdl."""
