"""Bytes that count for a tenant besides its files: files that are arriving, and discarded files not yet removed."""
