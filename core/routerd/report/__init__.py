"""The reports of a router: status, metrics, obstacles, and why an address goes where it goes.

It reads the router through the protocol of `subject` and changes nothing.
"""
