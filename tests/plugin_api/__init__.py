"""The public contract of plugins as text, and the rule by which it may change.

`python -m tests.plugin_api` writes `docs/api-snapshot` from the source. `python -m tests.plugin_api release`
keeps it as `docs/api-snapshot-released`, which the next versions are compared with.
"""
