"""Encrypted tunnels of a stranger: X25519 and ChaCha20-Poly1305 over UDP, by one program for each device."""
