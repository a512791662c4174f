"""The fabric of routerd on Azure virtual networks."""
