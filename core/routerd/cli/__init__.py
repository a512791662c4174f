"""The command line: `routerd` runs the daemon, its subcommands ask it or do one thing.

One module per command. A command turns options into a call of `routerd.runtime` or of the admin
socket and shows the answer; it decides nothing.
"""

from routerd.cli.main import main

__all__ = ["main"]
