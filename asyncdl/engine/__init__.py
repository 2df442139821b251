"""What `asyncdl run` does: slots, transfers, the pool, rescue. Knows nothing of who looks on."""
