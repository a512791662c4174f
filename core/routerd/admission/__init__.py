"""A route reflector decides on claims: who may join the fabric, with which addresses, for how long.

`form`, `policies`, `link_slots`, `holdings` and `rules` are pure. `desk` judges and writes down;
`listener` keeps the TCP port open. What a leaf does to join is in `leaf`.
"""
