import re
import tomllib

from packaging.requirements import Requirement

from tests.conftest import ROOT

IN_THE_IMAGE = ("encode", "onnx", "opentelemetry", "s3", "service", "timm", "transformers")
PIN = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


def test_the_lock_has_the_versions_that_the_project_asks_for() -> None:
    pins = dict(PIN.findall((ROOT / "requirements.lock").read_text()))
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = asked["project"]["optional-dependencies"]
    wanted = [text for extra in IN_THE_IMAGE for text in extras[extra] if not text.startswith("nern[")]
    for text in asked["project"]["dependencies"] + wanted + asked["build-system"]["requires"]:
        requirement = Requirement(text)
        assert pins[requirement.name] in requirement.specifier, f"{text}: run `make lock`"


def test_the_lock_is_made_for_the_extras_that_the_documentation_names() -> None:
    locked = re.findall(r"--extra (\S+)", (ROOT / "scripts" / "lock").read_text())
    page = (ROOT / "docs" / "installation.md").read_text()
    sentence = re.search(r"The image of the \[Dockerfile\]\S* has (.*?), with", page, re.DOTALL)
    assert sentence is not None
    assert sorted(locked) == sorted(re.findall(r"`(.*?)`", sentence[1])) == sorted(IN_THE_IMAGE)


def test_everything_in_the_lock_has_a_hash_and_comes_from_nowhere_in_particular() -> None:
    text = (ROOT / "requirements.lock").read_text()
    for block in re.split(r"\n(?=[a-z])", text)[1:]:
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", block, re.MULTILINE), block
    assert "://" not in text
    assert not re.search(r"^(-|\.|/)", text, re.MULTILINE)


def test_the_image_installs_what_the_lock_says() -> None:
    assert "!requirements.lock\n" in (ROOT / ".dockerignore").read_text()
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes --requirement requirements.lock" in dockerfile
    assert "--no-deps --no-build-isolation --no-index ." in dockerfile
