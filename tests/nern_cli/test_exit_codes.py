import re

import pytest

from nern_cli.exit_codes import EXIT_CODES, ExitCode, exit_code_of, exit_code_of_refusal
from nern_core.contract.errors import NernError
from tests.conftest import ROOT


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_the_documentation_lists_every_exit_status() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    table = page.partition("## Exit status")[2].partition("\n## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if re.match(r"\| \d", line)]
    assert [number for cell in first_cells for number in numbers_in(cell)] == list(ExitCode)


def test_the_help_lists_every_exit_status() -> None:
    assert numbers_in(EXIT_CODES) == list(ExitCode)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("no_database", ExitCode.FAILED),
        ("invalid_reference", ExitCode.MISUSED),
        ("target_too_small", ExitCode.TARGET_MISSED),
        ("too_lossy", ExitCode.TOO_LOSSY),
        ("not_a_checkpoint", ExitCode.BAD_INPUT),
        ("an_error_about_files_that_is_new", ExitCode.BAD_INPUT),
        ("disk_full", ExitCode.CANNOT_WRITE),
    ],
)
def test_errors_of_a_kind_have_a_status_of_their_own(code: str, status: ExitCode) -> None:
    assert exit_code_of(NernError(code, "A sentence.")) == status


@pytest.mark.parametrize(
    ("slug", "fields", "status"),
    [
        ("empty-checkpoint", {"checkpoint"}, ExitCode.BAD_INPUT),
        ("not-an-encoding", {"encoding"}, ExitCode.BAD_INPUT),
        ("architecture-mismatch", {"architecture"}, ExitCode.BAD_INPUT),
        ("unknown-weights", {"key"}, ExitCode.BAD_INPUT),
        ("not-a-dataset", set(), ExitCode.BAD_INPUT),
        ("unmatched-pattern", {"kernels"}, ExitCode.MISUSED),
        ("unknown-architecture", {"architecture"}, ExitCode.MISUSED),
        ("invalid-options", {"architecture"}, ExitCode.MISUSED),
        ("unknown-dataset", {"dataset"}, ExitCode.FAILED),
    ],
)
def test_a_service_that_refuses_a_file_gives_the_status_of_this_machine(
    slug: str, fields: set[str], status: ExitCode
) -> None:
    assert exit_code_of_refusal(slug, fields) == status
