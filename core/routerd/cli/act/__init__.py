"""Commands that check a file, compare it with the host, change the host, or direct the daemon."""
