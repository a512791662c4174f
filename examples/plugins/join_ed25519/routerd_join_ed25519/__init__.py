"""Join by an Ed25519 key of the leaf's own."""
