import pytest
import torch

from nern_core.contract.options import Device
from nern_core.training.devices import best_device


@pytest.mark.parametrize(("found", "device"), [(True, Device.GPU), (False, Device.CPU)])
def test_the_best_device_is_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch, found: bool, device: Device) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert best_device() is device
