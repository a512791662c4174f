"""Commands for a reflector: the claims that it knows, the decisions about them, and their log."""
