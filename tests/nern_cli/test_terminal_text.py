import ast
import io
import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from nern_cli.terminal_text import printable
from nern_core.representations.files import read_encoding, write_encoding
from tests.conftest import EXAMPLE, ROOT
from tests.nern_cli.test_main import QUICK, nern

ENCODING = ROOT / "tests" / "golden" / "quantized-v7.nern"


def encoded_output(monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: str, status: int = 0) -> tuple[str, str]:
    """Run a command that ends with this status; return its standard output and error in this encoding."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, stream)
    assert nern(monkeypatch, *arguments) == status
    printed = []
    for stream in streams:
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        printed.append(stream.buffer.getvalue().decode(encoding))
    monkeypatch.undo()
    return printed[0], printed[1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_results_are_shown_in_any_encoding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoding: str) -> None:
    output = str(tmp_path / "ö.nern")
    shown, _ = encoded_output(monkeypatch, encoding, "encode", str(EXAMPLE), "-o", output, *QUICK)
    assert "digits-cnn.safetensors -> " in shown
    assert {"ascii": "\\xf6.nern", "latin-1": "ö.nern"}[encoding] in shown
    assert "| source bytes" in shown
    shown, _ = encoded_output(monkeypatch, encoding, "--help")
    assert "+- Commands -" in shown


def test_terminal_escapes_in_a_file_are_shown_and_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    encoding = read_encoding(ENCODING)
    hostile = tmp_path / "hostile.nern"
    document = encoding.document.model_copy(update={"architecture": "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt"})
    write_encoding(replace(encoding, document=document), hostile)
    assert nern(monkeypatch, "inspect", str(hostile)) == 0
    shown = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202etxt" in shown
    assert all(character.isprintable() for line in shown.splitlines() for character in line)


def test_terminal_escapes_in_a_message_are_shown_and_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "\x1b[31m.nern"
    file.write_text("Dear diary")
    assert nern(monkeypatch, "inspect", str(file)) == 9
    assert "\\x1b[31m.nern" in capsys.readouterr().err


def test_ordinary_text_stays_as_it_is() -> None:
    assert printable("Größe → 5 — 東京") == "Größe → 5 — 東京"


def test_a_name_that_is_not_utf_8_is_printed_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "\udcff.nern"
    file.write_text("Dear diary")
    _, error = encoded_output(monkeypatch, "utf-8", "inspect", str(file), status=9)
    assert "\\udcff.nern" in error


def test_text_is_printed_in_one_place() -> None:
    printing = set()
    for module in (ROOT / "nern_cli").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.stdout.write", "typer.echo"}:
                printing.add(module.name)
    assert printing == {"display.py", "terminal_text.py"}


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"nern {version('nern')}\n"


def test_a_fault_of_the_program_is_a_sentence_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("nern_cli.inspection.inspect_file", fail)
    assert nern(monkeypatch, "inspect", str(EXAMPLE)) == 1
    error = capsys.readouterr().err
    assert "Unexpected error" in error
    assert "ZeroDivisionError: division by zero" in error
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_too_little_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("nern_cli.inspection.inspect_file", fail)
    assert nern(monkeypatch, "inspect", str(EXAMPLE)) == 1
    assert capsys.readouterr().err.startswith("nern: Out of memory;")


def test_a_wrong_setting_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NERN_MAX_UPLOAD_BYTES", "many")
    assert nern(monkeypatch, "migrate") == 2
    assert capsys.readouterr().err.startswith("nern: NERN_MAX_UPLOAD_BYTES: ")


def test_a_reader_of_notes_that_leaves_does_not_end_the_command() -> None:
    program = "from nern_cli.terminal_text import print_note\nfor _ in range(3): print_note('x')\nprint('result')"
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=write, check=False)
    os.close(write)
    assert (ended.returncode, ended.stdout) == (0, b"result\n")
