"""The backends that unpool has built in, one package each; `unpool.registry` lists them and loads them by name.

What users call is in `unpool`.  Importing this package imports no framework; each backend imports its own.
"""
