import random
from pathlib import Path

import pytest

from bench.fuzz import Target, fuzz, targets
from bench.fuzz_mutations import mutate, mutate_json
from nern_core.contract.errors import NernError

INPUTS = {"safetensors": 3000, "torch, zip": 2000, "torch, legacy": 3000, "nern": 300}


@pytest.mark.parametrize("name", targets())
def test_nothing_but_refusals_escapes_the_readers(name: str, tmp_path: Path) -> None:
    outcome = fuzz(targets()[name], INPUTS[name], 0, tmp_path)
    assert outcome.escaped == {}
    assert outcome.inputs == outcome.accepted + sum(outcome.refused.values()) == INPUTS[name]
    assert outcome.accepted
    assert len(outcome.refused) > 1


def test_what_escapes_is_kept_once_for_each_kind(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        match path.read_bytes():
            case b"0":
                raise NernError("refused", "It is refused.")
            case b"1":
                raise ValueError("one")

    outcome = fuzz(Target(read, lambda generator, _: b"%d" % generator.randrange(3)), 60, 0, tmp_path)
    assert (set(outcome.refused), outcome.accepted > 0) == ({"refused"}, True)
    assert outcome.escaped == {"ValueError: one": str(tmp_path / "escaped-0")}
    assert (tmp_path / "escaped-0").read_bytes() == b"1"


def test_a_changed_file_follows_from_its_seed() -> None:
    seeds = [bytes(range(200)), b"another seed"]
    assert mutate(random.Random(7), seeds) == mutate(random.Random(7), seeds) not in seeds


def test_a_changed_document_leaves_the_values_to_choose_from_alone() -> None:
    documents = [mutate_json(random.Random(seed), {"a": [1, {"b": 2}], "c": []}) for seed in range(200)]
    again = [mutate_json(random.Random(seed), {"a": [1, {"b": 2}], "c": []}) for seed in range(200)]
    assert documents == again
