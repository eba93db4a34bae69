"""Retention: removes expired data, unused files and leftovers."""
