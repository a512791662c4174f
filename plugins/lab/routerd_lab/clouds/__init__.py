"""Emulated clouds with the shapes of the real APIs, and the authority that signs their certificates."""
