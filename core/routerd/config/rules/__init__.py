"""The rules of a configuration file beyond its types; `validate` applies them all.

`checker` has the look-ups and the checks of one field. How a field becomes a value of its type is not here.
"""
