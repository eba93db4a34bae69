"""Errors that a user can act on. Torch-free."""


class NernError(Exception):
    """Something about the input cannot be encoded or decoded.

    `code` is a stable slug for programs, `message` one sentence for people that says what is wrong
    and, where there is something to do about it, what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
