"""routerd fabric: Oracle Cloud Infrastructure VCNs."""
