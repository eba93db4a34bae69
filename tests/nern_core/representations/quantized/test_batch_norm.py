import torch
from torch import nn

from nern_core.representations.quantized.batch_norm import fold_batch_norm


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=0.1), nn.BatchNorm2d(8, affine=False))
    for _ in range(5):
        net(torch.randn(4, 3, 8, 8) * 3 + 1)
    with torch.no_grad():
        for parameter in net[1].parameters():
            parameter.normal_()
    return net.eval()


def test_the_network_computes_the_same_after_folding() -> None:
    net, inputs = network(), torch.randn(2, 3, 8, 8)
    expected = net(inputs)
    net.load_state_dict(net.state_dict() | fold_batch_norm(net))
    torch.testing.assert_close(net(inputs), expected, rtol=1e-5, atol=1e-5)


def test_running_statistics_become_constants() -> None:
    folded = fold_batch_norm(network())
    assert folded["1.running_mean"].tolist() == [0.0] * 8
    assert folded["1.running_var"].tolist() == [1.0] * 8


def test_layers_without_weights_stay_as_they_are() -> None:
    assert {name.partition(".")[0] for name in fold_batch_norm(network())} == {"1"}
