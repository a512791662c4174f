"""The plugins of this router: found, loaded, checked against the file, and made into providers.

What a provider does is not here; `spi` says what it must do, and `runtime` binds it to the loop.
"""
