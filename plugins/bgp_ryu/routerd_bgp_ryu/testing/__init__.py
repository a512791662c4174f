"""Speakers for tests: nodes on loopback addresses. Needs pytest; nothing here runs in production."""
