"""Requests that the service sends to addresses that users name."""
