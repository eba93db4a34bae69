"""The torch device of an option, and the option that is best here."""

import torch

from nern_core.errors import NernError
from nern_core.options import Device


def torch_device(device: Device) -> torch.device:
    """Where torch computes for this option. Raises `NernError` (`no_gpu`)."""
    if device is Device.CPU:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NernError("no_gpu", "No GPU can be used here; choose the device `cpu`.")
    return torch.device("cuda")


def best_device() -> Device:
    """The GPU, if one can be used here."""
    return Device.GPU if torch.cuda.is_available() else Device.CPU
