"""Peers that the wheel does not know: in each file, ``calls(data)`` returns what to time, by column."""
