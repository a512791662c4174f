"""The example plugin's own tests run in its own environment, not in ours."""

collect_ignore = ["example_plugin"]
