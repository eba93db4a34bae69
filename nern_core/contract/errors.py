"""Errors that a user can act on. Torch-free."""

_LONGEST_QUOTE = 80


class NernError(Exception):
    """The input cannot be encoded or decoded.

    `code` is a stable slug for programs. `message` is one sentence for people: what is wrong and, if something helps,
    what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def quoted(text: str) -> str:
    """Quote a name from a file for use in a message: shortened, with control characters escaped."""
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")


def sentence_case(text: str) -> str:
    """Begin a sentence with a capital, unless its first word is a name: an option, a path or the command."""
    first, _, _ = text.partition(" ")
    return f"{text[0].upper()}{text[1:]}" if first.isalpha() and first != "nern" else text


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if it has none, as the end of a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
