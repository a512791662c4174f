"""Routes in the kernel: messages packed by hand into batched sends, read back, and looked up.

Links, addresses and packet filter rules are beside this folder.
"""
