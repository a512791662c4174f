"""Commands for a leaf: its file, the proof of its claim, and the way to a reflector."""
