"""Requests to other machines: one hop at a time, redirects, credentials, gates, address guard."""
