"""Commands that show: they ask the daemon and change nothing."""
