"""Bytes that count for a tenant beside its files: of files that still arrive, and of files that are to be removed."""
