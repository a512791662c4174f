"""What the fabrics of clouds have in common; how a cloud is asked and written stays with its plugin."""
