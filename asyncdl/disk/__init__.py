"""Partial files, where things live, free bytes and inodes."""
