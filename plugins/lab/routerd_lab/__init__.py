"""The lab: a whole fabric in network namespaces, with clouds that enforce what their API holds."""
