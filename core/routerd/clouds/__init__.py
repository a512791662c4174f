"""A change in a cloud account: journaled before it is made, gated, undone, and left to one leaf of a site.

The calls themselves are in the cloud plugins. What needs the router is in `runtime.cloud_actions`.
"""
