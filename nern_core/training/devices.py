"""The torch device of an option, and the best device of this machine."""

import torch

from nern_core.contract.errors import NernError
from nern_core.contract.options import Device


def torch_device(device: Device) -> torch.device:
    """Return the torch device of this option. Raises `NernError` (`no_gpu`)."""
    if device is Device.CPU:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NernError("no_gpu", "No GPU is available here; choose the device `cpu`.")
    return torch.device("cuda")


def best_device() -> Device:
    """Return the GPU if one is available, else the CPU."""
    return Device.GPU if torch.cuda.is_available() else Device.CPU
