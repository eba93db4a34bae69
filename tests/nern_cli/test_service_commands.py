import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.jobs.events import repository
from app.jobs.repository import JobRepository
from app.kit.backoff import Backoff
from app.settings import Authentication, Settings
from nern_cli.jobs import Status
from nern_client import JobStatus
from nern_core.contract.progress import Phase, Progress
from tests.conftest import DIGITS, EXAMPLE, ROOT, transaction
from tests.nern_cli.conftest import Run
from tests.nern_client.conftest import claim, fail, listening, succeed
from tests.nern_client.wire import Wire, cut_answer, lose_answer

WEIGHTS = b"the weights " * 1000
RESULTS = {"weights.safetensors": WEIGHTS, "encoding.nern": b"the encoding"}


pytestmark = pytest.mark.usefixtures("wire")


@pytest.fixture
def job_id(nern: Run, capsys: pytest.CaptureFixture[str]) -> str:
    """A job that waits for a worker."""
    assert nern("submit", str(EXAMPLE), "--steps", "7") == 0
    return capsys.readouterr().out.strip()


def later(work: Callable[..., None], *arguments: object) -> None:
    threading.Timer(0.2, work, arguments).start()


def test_submit_prints_the_id_alone(nern: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern("submit", str(EXAMPLE)) == 0
    printed = capsys.readouterr()
    assert re.fullmatch(r"job_[0-9a-f]{32}\n", printed.out)
    assert printed.err == ""


def test_a_file_that_the_service_refuses_has_the_exit_status_of_encode(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pt"
    empty.touch()
    assert nern("submit", str(empty)) == 9
    assert capsys.readouterr().err == "nern: The checkpoint is an empty file; use a .safetensors or .pt file.\n"


def test_submit_takes_a_deadline(nern: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern("submit", str(EXAMPLE), "--deadline", "60", "--json") == 0
    job = json.loads(capsys.readouterr().out)
    created, deadline = (datetime.fromisoformat(job[name]) for name in ("created_at", "deadline_at"))
    assert deadline - created == timedelta(seconds=60)


def test_submit_takes_the_options_of_encode(nern: Run, capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        "architecture": "digits-cnn",
        "dataset": str(DIGITS),
        "recipe": "data-free",
        "kernels": ["all", "!*.bias"],
        "hidden_size": 16,
        "permutation": "in-filter",
        "steps": 30,
        "rounds": 2,
        "kernels_per_coordinate": 4,
        "importance": True,
        "direct_quantization": True,
        "seed": 3,
        "device": "gpu",
    }
    flags: list[str] = []
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            flags += [f"--{name.replace('_', '-')}", *([] if one is True else [str(one)])]
    assert nern("submit", str(EXAMPLE), *flags, "--json") == 0
    options = json.loads(capsys.readouterr().out)["options"]
    assert {name: value for name, value in options.items() if name in given} == given


def test_a_key_of_ones_own_makes_one_job(nern: Run, capsys: pytest.CaptureFixture[str], wire: Wire) -> None:
    wire.harm("POST /jobs", lose_answer)
    for _ in range(2):
        assert nern("submit", str(EXAMPLE), "--idempotency-key", "mine") == 0
    first, second = capsys.readouterr().out.split()
    assert first == second


def test_watch_ends_with_the_figures_of_the_job(
    nern: Run, capsys: pytest.CaptureFixture[str], embedded: Settings, job_id: str
) -> None:
    later(succeed, embedded, job_id, RESULTS)
    assert nern("jobs", "watch", job_id) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{job_id}\n")
    assert "file bytes" in printed.out
    assert printed.err == ""


def test_watch_prints_a_line_of_json_for_each_change(
    nern: Run, capsys: pytest.CaptureFixture[str], embedded: Settings, job_id: str
) -> None:
    later(succeed, embedded, job_id, RESULTS)
    assert nern("jobs", "watch", job_id, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["id"] for line in lines} == {job_id}
    statuses = [line["status"] for line in lines]
    # States between two polls are not seen.
    assert statuses == [status for status in ("queued", "running", "succeeded") if status in statuses]
    assert statuses[-1] == "succeeded"


def test_logs_tell_what_has_happened_line_by_line(
    nern: Run, capsys: pytest.CaptureFixture[str], embedded: Settings, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "_BACKOFF", Backoff(first=timedelta(0), longest=timedelta(0)))
    begun = claim(embedded, job_id)
    told = Progress(phase=Phase.RECONSTRUCTION, fraction=0.5, step=10, total=20, loss=0.25)
    progress = told.model_dump(mode="json", exclude={"phase"})
    with transaction(embedded) as session:
        JobRepository(session).heartbeat(begun, timedelta(seconds=30), "reconstruction", progress)
    with transaction(embedded) as session:
        assert JobRepository(session).fail(begun, "out_of_memory", "The job needs more memory than there is.")
    assert nern("jobs", "logs", job_id, "--follow") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in lines)
    assert [line[21:] for line in lines] == [
        "queued     attempt 0",
        "running    attempt 1",
        "progress   reconstruction 50 %  step 10/20  loss 0.25",
        "failed     attempt 1  The job needs more memory than there is.",
    ]


def test_logs_are_lines_of_json_for_programs(nern: Run, capsys: pytest.CaptureFixture[str], job_id: str) -> None:
    assert nern("jobs", "logs", job_id, "--json") == 0
    [line] = capsys.readouterr().out.splitlines()
    assert {name: json.loads(line)[name] for name in ("number", "kind", "data")} == {
        "number": 1,
        "kind": "queued",
        "data": {"attempt": 0},
    }


def test_the_exit_status_says_what_became_of_a_job(
    nern: Run, capsys: pytest.CaptureFixture[str], embedded: Settings, job_id: str
) -> None:
    assert nern("jobs", "watch", job_id, "--timeout", "0.1") == 5
    assert capsys.readouterr().err == f"nern: The job {job_id} is still queued; it continues.\n"
    fail(embedded, job_id)
    assert nern("jobs", "watch", job_id) == 3
    assert capsys.readouterr().err == "nern: The job needs more memory than there is.\n"
    assert nern("submit", str(EXAMPLE)) == 0
    other = capsys.readouterr().out.strip()
    assert nern("jobs", "cancel", other) == 0
    assert capsys.readouterr().out == f"{other} is canceled.\n"
    assert nern("jobs", "watch", other, "--json") == 4
    printed = capsys.readouterr()
    assert json.loads(printed.out)["status"] == "canceled"
    assert printed.err == "nern: The job was canceled.\n"


def test_one_command_cancels_and_deletes_several_jobs_and_names_those_that_are_refused(
    nern: Run, capsys: pytest.CaptureFixture[str], job_id: str
) -> None:
    assert nern("submit", str(EXAMPLE)) == 0
    other = capsys.readouterr().out.strip()
    assert nern("jobs", "cancel", job_id, "nothing", other) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{job_id} is canceled.\n{other} is canceled.\n"
    assert printed.err == "nern: nothing: There is no job 'nothing'; GET /jobs (`nern jobs list`) lists all ids.\n"
    assert nern("jobs", "delete", job_id, other, "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"id": found, "deleted": True} for found in (job_id, other)]


def test_submit_with_json_prints_one_document_also_of_a_job_without_results(
    nern: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nern("submit", str(EXAMPLE), "--wait", "--timeout", "0", "--json") == 5
    assert json.loads(capsys.readouterr().out)["status"] == "queued"


def test_jobs_are_listed_shown_and_deleted(
    nern: Run, capsys: pytest.CaptureFixture[str], embedded: Settings, job_id: str
) -> None:
    succeed(embedded, job_id, RESULTS)
    assert nern("jobs", "list") == 0
    assert re.fullmatch(
        rf"{job_id}\tsucceeded\t100\t20\d\d-\d\d-\d\d \d\d:\d\d\tdigits-cnn.safetensors\n", capsys.readouterr().out
    )
    for nothing in (("--status", "queued"), ("--kind", "reconstruction")):
        assert nern("jobs", "list", *nothing) == 0
        assert capsys.readouterr().out == ""
    assert nern("jobs", "list", "--json") == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [job_id]
    assert nern("jobs", "show", job_id, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["options"]["steps"], shown["links"]["self"]) == (7, f"/jobs/{job_id}")
    assert nern("jobs", "show", job_id) == 0
    assert "options: steps" in capsys.readouterr().out
    assert nern("jobs", "delete", job_id) == 0
    assert capsys.readouterr().out == f"{job_id} is deleted.\n"
    assert nern("jobs", "show", job_id) == 1
    assert capsys.readouterr().err == f"nern: There is no job '{job_id}'; GET /jobs (`nern jobs list`) lists all ids.\n"


def test_a_result_is_downloaded_under_its_name_or_another(
    nern: Run, capsys: pytest.CaptureFixture[str], embedded: Settings, wire: Wire, job_id: str, tmp_path: Path
) -> None:
    succeed(embedded, job_id, RESULTS)
    wire.harm(f"GET /jobs/{job_id}/weights", cut_answer(100))
    assert nern("download", job_id) == 0
    assert capsys.readouterr().out == "weights.safetensors: 12,000 bytes\n"
    assert (tmp_path / "weights.safetensors").read_bytes() == WEIGHTS
    assert nern("download", job_id, "encoding.nern", "-o", "mine.nern", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["path"], told["bytes"]) == ("mine.nern", 12)
    assert (tmp_path / "mine.nern").read_bytes() == b"the encoding"
    (tmp_path / "locked" / "weights.safetensors").mkdir(parents=True)
    assert nern("download", job_id, "-o", "locked") == 10
    assert capsys.readouterr().err == "nern: 'locked/weights.safetensors' is a folder; choose a file.\n"
    assert nern("download", job_id, "weights.pt") == 1
    assert "has no result weights.pt; it has encoding.nern, weights.safetensors." in capsys.readouterr().err


def test_what_is_not_there_or_not_allowed_is_said_with_what_to_do(
    nern: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nern("jobs", "list", "--url", "http://127.0.0.1:9") == 6
    error = capsys.readouterr().err
    assert error.startswith("nern: http://127.0.0.1:9 does not answer:")
    assert error.endswith("Start a service with `nern serve`, or set another address with --url or NERN_URL.\n")
    assert nern("jobs", "list", "--url", "localhost:8000") == 1
    assert "must start with http:// or https://" in capsys.readouterr().err
    assert nern("submit", str(EXAMPLE), "-o", "weights.gguf") == 2
    assert "must end in .safetensors, .pt, .onnx, .nern, .json, .html" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )
    assert nern("submit", str(EXAMPLE), "-o", "no/such/weights.pt") == 10
    capsys.readouterr()
    assert nern("submit", str(EXAMPLE), "--wait", "--timeout", "soon") == 2
    assert nern("submit", str(EXAMPLE), "--hidden-size", "2") == 2
    assert nern("submit", "no-such-file.pt") == 2
    assert nern("jobs", "list", "--status", "done") == 2


@pytest.mark.parametrize(
    ("command", "listing"),
    [
        (("download",), "`nern jobs list` prints the ids"),
        (("jobs", "show"), "`nern jobs list` prints the ids"),
        (("jobs", "watch"), "`nern jobs list` prints the ids"),
        (("jobs", "cancel"), "`nern jobs list` prints the ids"),
        (("datasets", "delete"), "`nern datasets list` prints the names"),
    ],
)
def test_an_empty_id_is_a_mistake_of_the_command(
    nern: Run, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], listing: str
) -> None:
    assert nern(*command, "") == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"It is empty; {listing}." in error


def test_a_service_with_keys_is_asked_with_the_one_in_the_environment(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path / "other", authentication=Authentication.KEYS)
    migrate(settings)
    sessions = create_sessions(settings)
    key = ApiKeyService(sessions).create("me", [Scope.READ]).reveal()
    sessions.kw["bind"].dispose()
    with listening(settings) as port:
        monkeypatch.setenv("NERN_URL", f"http://127.0.0.1:{port}")
        assert nern("jobs", "list") == 1
        assert "set NERN_API_KEY." in capsys.readouterr().err
        monkeypatch.setenv("NERN_API_KEY", "nern_wrong")
        assert nern("jobs", "list") == 1
        assert capsys.readouterr().err.endswith("The key is the one in NERN_API_KEY.\n")
        monkeypatch.setenv("NERN_API_KEY", key)
        assert nern("jobs", "list") == 0
        assert nern("submit", str(EXAMPLE)) == 1
        assert "does not have the scope `jobs:write`" in capsys.readouterr().err


def test_labels_are_given_and_looked_for(nern: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for team in ("vision", "speech"):
        assert nern("submit", str(EXAMPLE), "--label", f"team={team}", "--label", "model=x") == 0
    vision, speech = capsys.readouterr().out.split()
    assert nern("jobs", "list", "--label", "team=vision", "--json") == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [vision]
    assert nern("jobs", "list", "--label", "model=x", "--json") == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [speech, vision]


def test_a_label_without_a_value_is_explained(nern: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern("submit", str(EXAMPLE), "--label", "team") == 2
    assert "KEY=VALUE" in capsys.readouterr().err


def test_interrupting_leaves_the_job_alone(embedded: Settings, job_id: str) -> None:
    claim(embedded, job_id)
    nern = str(Path(sys.executable).with_name("nern"))
    # A background job of a shell ignores Ctrl-C, and so would all of its children.
    command = ["env", "--default-signal=INT", nern, "jobs", "watch", job_id, "--json"]
    watching = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("{")
    watching.send_signal(signal.SIGINT)
    _, error = watching.communicate(timeout=30)
    assert (watching.returncode, error) == (
        130,
        f"nern: Interrupted. The job continues: nern jobs watch {job_id}\n",
    )


def test_somebody_who_looks_sees_phase_loss_and_time_left(embedded: Settings, job_id: str) -> None:
    begun = claim(embedded, job_id)
    progress = {"fraction": 0.42, "step": 7, "total": 20, "loss": 0.125, "steps_per_second": 2.0, "seconds_left": 6.5}
    with transaction(embedded) as session:
        JobRepository(session).heartbeat(begun, timedelta(seconds=60), phase="distillation", progress=progress)
    status, shown = watched_on_a_terminal(job_id, "--timeout", "1")
    assert status == 5
    for part in ("distillation", "42 %", "step 7/20  loss 0.125  2.0 steps/s  6 s left"):
        assert part in shown


def test_brackets_in_a_sentence_mean_nothing(
    nern: Run, capsys: pytest.CaptureFixture[str], embedded: Settings, job_id: str
) -> None:
    fail(embedded, job_id, "There is no 'a[/b]' [red]here :bug:")
    status, shown = watched_on_a_terminal(job_id)
    assert status == 3
    assert "'a[/b]' [red]here :bug:" in shown
    assert nern("jobs", "show", job_id) == 0
    assert "There is no 'a[/b]' [red]here :bug:" in capsys.readouterr().out


def watched_on_a_terminal(job_id: str, *arguments: str) -> tuple[int, str]:
    """Return the exit status of `nern jobs watch` and its standard error on a terminal."""
    nern = str(Path(sys.executable).with_name("nern"))
    terminal, its_end = os.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "120"}
    command = [nern, "jobs", "watch", job_id, *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=its_end, env=env, check=False)
    os.close(its_end)
    shown = os.read(terminal, 2**16).decode()
    os.close(terminal)
    assert ended.stdout == b""
    return ended.returncode, shown


def test_the_statuses_that_can_be_asked_for_are_all_there_are() -> None:
    assert [status.value for status in Status] == [status.value for status in JobStatus]


def test_speaking_to_a_service_needs_no_torch() -> None:
    program = (
        "import sys\nfrom nern_cli.main import main\nsys.argv = ['nern', 'jobs', 'list']\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "assert not {'torch', 'numpy', 'sqlalchemy', 'fastapi'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
