"""Errors of torch files, and the way out that they name."""

from nern_core.errors import NernError, quoted

__all__ = ["damaged", "executable", "quoted", "unsupported_format"]

_HOW_TO = "save the network's state_dict() with torch.save or safetensors and send that"


def damaged(reason: str) -> NernError:
    """The file is not what torch.save writes."""
    return NernError("unreadable_checkpoint", f"The torch file cannot be read, since {reason}; {_HOW_TO}.")


def executable(what: str) -> NernError:
    """Reading the file would run what it asks for."""
    return NernError("executable_checkpoint", f"The file {what}, and nothing that a file asks for is run; {_HOW_TO}.")


def unsupported_format(what: str) -> NernError:
    """The file has another format, or is larger than is read."""
    return NernError("unsupported_format", f"The file {what}; {_HOW_TO}.")
