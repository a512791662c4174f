"""The speaker's process: the only place that imports Ryu or os-ken, and that is monkey-patched."""
