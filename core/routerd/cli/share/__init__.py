"""Parts that commands share: common options, the question to the daemon, tables, times, lazy groups.

No command lives here.
"""
