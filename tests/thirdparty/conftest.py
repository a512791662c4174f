"""The tests of plugins from outside run in their own environment, not in ours."""

collect_ignore = ["example_plugin", "misbehaving", "misbehaving_join"]
