"""The NeRN method as a library: a trained network in, a small predictor of its kernels out.

`nern_core` knows nothing of HTTP, databases or queues. Two of its modules, `options` and
`checkpoint_structure`, never import torch, so that a service may use them in processes that must
stay small.
"""
