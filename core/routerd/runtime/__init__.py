"""The daemon: its parts composed, its life, the single runs, and the view that an administrator has of it.

A part that can do without the router lives in a package of its own.
"""
