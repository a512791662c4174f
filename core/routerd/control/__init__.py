"""What others can ask of a running router, and how we ask others.

Two listeners that share nothing: `admin` on a Unix socket for the administrator, `enrollment` on
TCP for leaves, with nothing but enrollment on it. `enroll_client` is the leaf's side of the
latter. Handlers translate; what they translate to is behind the protocols in `ports`.
"""
