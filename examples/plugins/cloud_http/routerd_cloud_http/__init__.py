"""The cloud `http`: route tables that are a JSON document at an HTTP endpoint."""
