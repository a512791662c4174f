"""The process around everything else: its tasks, log, clock and directories, and its word to systemd.

Nothing here knows of routers, plugins or claims.
"""
