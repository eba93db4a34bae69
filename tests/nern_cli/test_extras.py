"""Commands of a base installation, in processes that cannot import any package of the extras."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from packaging.requirements import Requirement
from safetensors.torch import save_file

from nern_cli.decoded_facts import checkpoint_facts, encoding_facts
from nern_cli.extras import EXTRAS
from tests.conftest import EXAMPLE, ROOT
from tests.processes import free_port
from worker.celery_app import check_runner

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENCODINGS = sorted((ROOT / "tests" / "golden").glob("*.nern"))
# Imports modules and runs commands, one after another in one process.
PROGRAM = """
import contextlib, importlib, io, json, sys

refused, modules, commands = json.load(sys.stdin)

class Without:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name in refused else self._finder.find_spec(name, path, target)

sys.meta_path = [Without(finder) for finder in sys.meta_path]
from nern_cli.main import main

for module in modules:
    importlib.import_module(module)
ended = []
for command in commands:
    sys.argv = ["nern", *command]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            ended.append((end.code or 0, out.getvalue(), err.getvalue()))
json.dump(ended, sys.stdout)
"""
SENTENCE = "nern: nern {command} needs the extra {extra}: pip install 'nern[{extra}]'\n"


class Ended(NamedTuple):
    """A command that has ended: its exit status and what it printed."""

    status: int
    out: str
    err: str


def normal(name: str) -> str:
    """Return the name of a package without differences that do not count."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_with(texts: list[str]) -> set[str]:
    """Return the names of these requirements and of all their own."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in texts]
    while waiting:
        requirement = waiting.pop()
        if normal(requirement.name) not in found and (requirement.marker is None or requirement.marker.evaluate()):
            found.add(normal(requirement.name))
            waiting += [Requirement(text) for text in requires(requirement.name) or []]
    return found


def modules_missing_with(*extras: str) -> set[str]:
    """Return the names of modules that an installation with these extras does not have."""
    wanted = [text for extra in extras for text in PROJECT["optional-dependencies"][extra]]
    installed = installed_with(PROJECT["dependencies"] + wanted) | {"nern"}
    return {
        module
        for module, packages in packages_distributions().items()
        if installed.isdisjoint(map(normal, packages)) and module.isidentifier()
    }


@pytest.fixture(scope="module")
def refused() -> set[str]:
    """Names of modules that a base installation does not have."""
    return modules_missing_with()


def run(refused: set[str], commands: list[list[str]], modules: tuple[str, ...] = ()) -> list[Ended]:
    """Import modules and run commands without the refused modules."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([sorted(refused), modules, commands]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [Ended(*one) for one in json.loads(ended.stdout)]


USES_SERVICE = (["submit", str(EXAMPLE)], ["jobs", "list"], ["download", "job_1"])
NEEDS = {
    "encode": [str(EXAMPLE), "-o", "/dev/null"],
    "evaluate": [str(EXAMPLE), "--dataset", "examples/digits", "--architecture", "digits-cnn"],
    "reconstruct": [str(ENCODINGS[0]), "-o", "/dev/stdout"],
    "report": [str(EXAMPLE), str(ENCODINGS[0]), "-o", "/dev/null"],
    "serve": [],
    "api": [],
    "migrate": [],
    "keys": ["list"],
}
EXTRA_OF = {
    **dict.fromkeys(NEEDS, "encode"),
    **dict.fromkeys(("serve", "api", "migrate", "keys"), "service"),
    "reconstruct": "decode",
}


@pytest.fixture(scope="module")
def ended(refused: set[str]) -> dict[str, Ended]:
    """The commands of the tests by their first two arguments, ended in a base installation."""
    nowhere = ["--url", f"http://127.0.0.1:{free_port()}"]
    commands = [
        ["--help"],
        *([*command, *nowhere] for command in USES_SERVICE),
        *([name, *arguments] for name, arguments in NEEDS.items()),
        *(["inspect", str(file), "--json"] for file in (*ENCODINGS, EXAMPLE)),
    ]
    return {" ".join(command[:2]): one for command, one in zip(commands, run(refused, commands), strict=True)}


def test_the_extras_are_those_of_the_project() -> None:
    modules: dict[str, set[str]] = {}
    for module, packages in packages_distributions().items():
        for package in packages:
            modules.setdefault(normal(package), set()).add(module)
    for extra in ("encode", "service"):
        for text in PROJECT["optional-dependencies"][extra]:
            provided = modules[normal(Requirement(text).name)]
            # jinja2 belongs to both.
            assert {EXTRAS.get(module) for module in provided} & {extra, "encode"}, text


def test_a_base_installation_has_none_of_the_extras(refused: set[str]) -> None:
    assert {"torch", "numpy", "safetensors", "fastapi", "sqlalchemy", "celery", "mlflow", "obstore"} <= refused


def test_the_help_lists_all_commands(ended: dict[str, Ended]) -> None:
    status, out, err = ended["--help"]
    assert (status, err) == (0, "")
    for command in ("encode", "evaluate", "inspect", "serve", "submit", "download", "jobs", "mlflow", "importance"):
        assert re.search(rf"\b{command}\b", out), command


@pytest.mark.parametrize("command", USES_SERVICE, ids=" ".join)
def test_commands_that_use_a_service_only_miss_the_service(ended: dict[str, Ended], command: list[str]) -> None:
    assert ended[" ".join(command)].status == 6


@pytest.mark.parametrize("command", NEEDS)
def test_other_commands_name_the_extra_that_they_need(ended: dict[str, Ended], command: str) -> None:
    key = " ".join([command, *NEEDS[command]][:2])
    assert ended[key] == (1, "", SENTENCE.format(command=command, extra=EXTRA_OF[command]))


def test_a_service_on_one_machine_needs_both_extras() -> None:
    assert run({"torch"}, [["serve"]]) == [(1, "", SENTENCE.format(command="serve", extra="encode"))]


@pytest.mark.parametrize("file", ENCODINGS, ids=lambda file: str(file.name))
def test_the_structure_of_an_encoding_tells_the_same_as_its_values_except_for_its_parts(
    ended: dict[str, Ended], file: Path
) -> None:
    status, out, err = ended[f"inspect {file}"]
    assert (status, err) == (
        0,
        (
            "Facts of the representation and the bytes of each part are left out: they need the extra encode, "
            "pip install 'nern[encode]'\n"
        ),
    )
    facts, decoded = json.loads(out), encoding_facts(file)
    assert facts.items() <= decoded.items()
    parts = {"predictor_bytes", "permutation_bytes", "integer_bytes", "kept_bytes", "header_bytes"}
    of_predictors = {
        "kernels_per_coordinate",
        "permutation",
        "hidden_size",
        "predictor_parameters",
        "predictor_dtype",
    }
    missing = decoded.keys() - facts.keys()
    assert missing == (parts if facts["representation"] == "quantized" else parts | of_predictors)


def test_the_structure_of_a_checkpoint_tells_the_same_as_its_values(ended: dict[str, Ended]) -> None:
    status, out, err = ended[f"inspect {EXAMPLE}"]
    assert (status, json.loads(out), err) == (0, checkpoint_facts(EXAMPLE, None), "")


def test_tied_tensors_are_found_by_their_values_only(refused: set[str], tmp_path: Path) -> None:
    weight = torch.ones(32, 32)
    file = tmp_path / "tied.safetensors"
    save_file({"first.weight": weight, "second.weight": weight.clone()}, file)
    ((status, out, err),) = run(refused, [["inspect", str(file), "--json"]])
    assert (status, err) == (
        0,
        "Tied tensors count once for each name: finding them needs the extra encode, pip install 'nern[encode]'\n",
    )
    counts = "represented_tensors", "represented_weights"
    assert [json.loads(out)[name] for name in counts] == [2, 2048]
    assert [checkpoint_facts(file, None)[name] for name in counts] == [1, 1024]


@pytest.mark.slow
def test_the_extra_encode_is_enough_to_encode_and_decode(tmp_path: Path) -> None:
    encoding = str(tmp_path / "digits.nern")
    commands = [
        ["encode", str(EXAMPLE), "-o", encoding, "--architecture", "digits-cnn"],
        ["reconstruct", encoding, "-o", str(tmp_path / "weights.safetensors")],
        ["report", str(EXAMPLE), encoding, "-o", str(tmp_path / "report.html")],
        ["huggingface", "export", encoding, str(tmp_path / "hub")],
    ]
    assert [one.status for one in run(modules_missing_with("encode"), commands)] == [0] * 4


def test_the_extra_service_is_enough_for_the_api_and_the_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NERN_DATA_DIR", str(tmp_path))
    modules = ("app.main", "app.http.server", "worker.celery_app")
    ended = run(modules_missing_with("service"), [["migrate"], ["keys", "list"]], modules)
    assert [one.status for one in ended] == [0, 0]


def test_a_worker_without_the_packages_of_its_runner_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.celery_app.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^nern: A worker needs the extra encode: pip install 'nern\[encode\]'$"):
        check_runner()
