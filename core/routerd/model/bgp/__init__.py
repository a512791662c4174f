"""Rules and values of BGP that several packages share: best path, import policy, communities. Pure.

Routes and sessions are beside this folder, because every routing protocol has them.
"""
