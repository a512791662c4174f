"""The fabric of routerd on Amazon VPC."""
