"""The NeRN method as a library: represent a trained network by a small predictor of its kernels.

`nern_core` does not depend on HTTP, databases or queues. Two of its modules, `options` and `checkpoint_structure`,
never import torch, so that a service can use them in processes that must stay small.
"""
