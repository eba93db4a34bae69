"""Data sets that jobs can use: folders that the operator offers, and files that a tenant has uploaded."""
