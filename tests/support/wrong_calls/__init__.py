"""Calls that must fail, in tables, with the whole message that each must raise.

A reader can judge the messages here, and a diff shows every change of one.
"""
