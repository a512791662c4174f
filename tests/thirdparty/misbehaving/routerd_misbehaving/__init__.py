"""A plugin that breaks its contract."""
