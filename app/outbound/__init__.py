"""Requests that the service makes itself, to addresses that somebody else has named."""
