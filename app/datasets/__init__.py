"""Data sets that jobs may name: folders that the operator offers, and files that a tenant has uploaded."""
