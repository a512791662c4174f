"""The daemon put together: plugin host, supervised tasks, admission desk, enroller, composition root."""
