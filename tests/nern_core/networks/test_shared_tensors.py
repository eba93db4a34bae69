import math

import torch
from torch import Tensor, nn

from nern_core.networks.fidelity import compare_networks
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.outputs import OutputReader
from nern_core.networks.registry import load_weights
from nern_core.networks.shared_tensors import shared_names, with_shared
from nern_core.training.student import Student


class TinyForCausalLM(nn.Module):
    """A language model that returns the same logits for every token, and shares its embedding with its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(4, 8)
        self.head = nn.Linear(8, 4, bias=False)
        self.head.weight = self.words.weight
        self.register_buffer("position", torch.zeros(1), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": self.head(self.words(input_ids)) + self.position}


def test_the_names_of_a_shared_tensor_are_found_and_completed() -> None:
    shared = shared_names(TinyForCausalLM())
    assert shared == dict.fromkeys(("words.weight", "head.weight"), ("words.weight", "head.weight"))
    tensor = torch.ones(4, 8)
    assert with_shared({"head.weight": tensor}, shared) == {"head.weight": tensor, "words.weight": tensor}


def test_weights_are_loaded_by_one_name_of_a_shared_tensor() -> None:
    network = TinyForCausalLM()
    load_weights(network, {"words.weight": torch.ones(4, 8)})
    assert torch.equal(network.head.weight, torch.ones(4, 8))


def test_a_student_replaces_a_tensor_under_all_its_names_and_keeps_buffers_that_are_not_saved() -> None:
    network = TinyForCausalLM()
    weights = {"words.weight": torch.ones(4, 8)}
    student = Student(network, reader=OutputReader(names=("logits",)))
    logits = student.logits(weights, {"input_ids": torch.zeros(1, 2, dtype=torch.long)})
    assert torch.equal(logits, torch.full((1, 2, 4), 8.0))


def test_the_perplexity_of_equal_logits_is_the_number_of_words() -> None:
    original, changed = TinyForCausalLM().eval(), TinyForCausalLM().eval()
    load_weights(original, {"words.weight": torch.zeros(4, 8)})
    # Each word predicts itself with a logit of 2, and padding does not count.
    load_weights(changed, {"words.weight": torch.eye(4, 8) * math.sqrt(2)})
    tokens = torch.tensor([[0, 0, 0, 3], [1, 1, 2, 3]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    batch = InputBatch({"input_ids": tokens, "attention_mask": mask})
    fidelity = compare_networks(original, changed, [batch], OutputReader(names=("logits",))).fidelity
    assert fidelity.original_perplexity == 4.0
    assert fidelity.reconstructed_perplexity == round(1 + 3 / math.e**2, 6)
