"""Tiny networks of transformers with random weights, as folders of the hub, and their tokenizer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from nern_core.networks.transformers_models.configuration import make_configuration, network_class
from nern_core.networks.transformers_models.library import offline_library
from tests.hub_folders import make_folder

WORDS = ("[PAD]", "[UNK]", "the", "cat", "sat", "on", "a", "warm", "wall", "and", "watched", "harbour")
LINES = ("the cat sat on the wall", "a cat watched the harbour", "the wall and the harbour", "a warm wall") * 12
BERT: Mapping[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
}
GPT2: Mapping[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 32,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 32,
}


def network_of(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration, in evaluation mode, with the same random weights each time."""
    torch.manual_seed(0)
    with offline_library() as transformers:
        found = network_class(transformers, config["architectures"][0], config)
        network: nn.Module = found(make_configuration(found, config))
    return network.eval()


def folder_of(folder: Path, network: nn.Module, config: Mapping[str, Any]) -> Path:
    """Write the folder of a network, with a tokenizer of words. Shared tensors are written once."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in network.named_parameters()}
    make_folder(folder, tensors, config=config)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def changed(folder: Path, **entries: Any) -> None:  # JSON
    """Change entries of the configuration of a folder."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
