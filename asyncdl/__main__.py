"""`python -m asyncdl`; spawned children skip this file, so nothing heavy may depend on it."""

from asyncdl.cli.main import main

if __name__ == "__main__":
    main()
