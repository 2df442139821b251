"""Decisions only: no I/O, no asyncio, no clock, no randomness; time and jitter are arguments."""
