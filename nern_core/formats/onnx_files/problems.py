"""Errors of ONNX files."""

from nern_core.contract.errors import NernError

_HOW_TO = "export the network again, or save the file again with onnx.save, and use that"


def damaged(reason: str) -> NernError:
    """Make the error for a file that no exporter writes like this."""
    return NernError("unreadable_checkpoint", f"The ONNX file cannot be read, because {reason}; {_HOW_TO}.")


def unsupported(what: str, how_to: str = _HOW_TO) -> NernError:
    """Make the error for a file with something that is not supported, or above a limit."""
    return NernError("unsupported_format", f"The ONNX file {what}; {how_to}.")
