"""Errors of torch files, with advice on how to solve them."""

from nern_core.contract.errors import NernError, quoted

__all__ = ["LOADED", "damaged", "executable", "quoted", "unsupported_format"]

_HOW_TO = "save the network's state_dict() with torch.save or safetensors and use that"
# Only for a person who trusts the file.
LOADED = f"{'torch.load'}(FILE, map_location='cpu', weights_only={False})"


def damaged(reason: str) -> NernError:
    """Make the error for a file that torch.save did not write like this."""
    return NernError("unreadable_checkpoint", f"The torch file cannot be read, because {reason}; {_HOW_TO}.")


def executable(what: str, weights: str | None = None) -> NernError:
    """Make the error for a file that would run code. `weights` is Python that loads it and extracts its weights."""
    how_to = _HOW_TO
    if weights is not None:
        how_to = f"if you trust it, save only its weights, `torch.save({weights}, 'weights.pt')`, and use those"
    return NernError("executable_checkpoint", f"The file {what}, and code from files is never run; {how_to}.")


def unsupported_format(what: str) -> NernError:
    """Make the error for a file of another format or above a limit."""
    return NernError("unsupported_format", f"The file {what}; {_HOW_TO}.")
