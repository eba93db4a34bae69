import sys
from pathlib import Path

import pytest
import torch

from nern_core.tensors.large_blocks import large_blocks_returned


def resident_megabytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_blocks_between_others_are_returned_when_they_are_freed() -> None:
    with large_blocks_returned():
        tensors = [torch.ones(2**20) for _ in range(100)]
        before = resident_megabytes()
        # Every second one of 4 MiB, so that what is freed is between blocks in use.
        del tensors[::2]
        # 200 MiB, less what other threads take meanwhile.
        assert before - resident_megabytes() > 100
