"""Routes in the kernel: messages packed by hand into batched sends, read back, and looked up.

Addresses, links and rules are beside this folder; pyroute2 does those.
"""
