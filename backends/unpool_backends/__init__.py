"""The built-in backends of unpool, one package each; `unpool.registry` lists them and loads them by name.

The public functions are in `unpool`.  Importing this package imports no framework; each backend imports its own.
"""
