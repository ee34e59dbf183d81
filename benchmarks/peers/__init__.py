"""Peers that are not in the wheel: in each file, ``calls(data)`` returns the calls to time, by column."""
