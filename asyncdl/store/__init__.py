"""The queue in queue.sqlite. No other room opens that file."""
