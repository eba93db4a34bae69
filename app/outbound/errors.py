"""Errors of requests to addresses that users name."""


class OutboundError(Exception):
    """A request was not allowed or has failed; the message is for the user who named the address."""


class AddressRefused(OutboundError):
    """The address is not allowed, so no request is sent."""
