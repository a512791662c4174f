"""The tests of plugins from outside run in their own environment, not in ours."""

collect_ignore = ["encrypting", "example_plugin", "misbehaving", "misbehaving_join"]
