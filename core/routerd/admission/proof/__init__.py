"""How a leaf proves to a reflector that it may join: tokens, challenges, and the question to the join method.

The join methods themselves are plugins; `plugins.join_methods` contains their failures.
"""
