"""Changes of clouds: who may make them, what was made, and how it is undone."""
