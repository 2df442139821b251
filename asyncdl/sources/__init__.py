"""A name becomes artifacts: catalogue, Hub, URLs."""
