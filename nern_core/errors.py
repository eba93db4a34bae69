"""Errors that a user can act on. Torch-free."""

_LONGEST_QUOTE = 80


class NernError(Exception):
    """Something about the input cannot be encoded or decoded.

    `code` is a stable slug for programs, `message` one sentence for people that says what is wrong
    and, where there is something to do about it, what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def quoted(text: str) -> str:
    """A name out of a file as a sentence may show it: short, in quotes, with control characters escaped."""
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")
