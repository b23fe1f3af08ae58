"""Arbitrary and mutated input to everything that reads what others wrote.

``make check`` tries the same examples each time. MODELSTREAM_FUZZ=20 tries twenty times as many, new ones
each time; a failure prints its example.
"""
