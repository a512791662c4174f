"""Routes of a file, as a routing plugin of routerd."""
