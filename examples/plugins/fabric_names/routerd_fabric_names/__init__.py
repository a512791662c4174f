"""The leaves of a fabric by name, in a file of hosts."""
