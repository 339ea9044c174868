"""Failure rates that are predicted from a sweep, frozen, and held against live logs later."""
