"""Errors of requests to addresses that somebody else has named."""


class OutboundError(Exception):
    """A request that was not allowed or has failed; the sentence is for whoever named the address."""


class AddressRefused(OutboundError):
    """An address that no request is sent to."""
