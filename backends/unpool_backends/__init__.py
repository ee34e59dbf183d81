"""The backends that unpool has built in, one package each; `unpool.registry` lists them and loads them by name.

Users call `unpool`.  Nothing here imports a framework before one of its packages is asked for.
"""
