"""A fabric whose route tables are in a JSON file."""
