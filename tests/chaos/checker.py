"""Check the invariants after an experiment: nothing lost, nothing doubled, nothing stuck, every byte right."""

import hashlib
import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.storage.folder import FolderStore
from tests.chaos import audit
from tests.chaos.experiment import Experiment
from tests.processes import TERMINAL

RESULTS_VARIABLE = "NERN_CHAOS_RESULTS"
# Seconds that a runner may outlive the lease of its supervisor.
_KILL_GRACE = 5.0


@dataclass
class Verdict:
    """The results of an experiment."""

    experiment: str
    jobs: int
    faults: dict[str, int]
    outcomes: dict[str, int]
    attempts: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong_bytes: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def violations(self) -> list[str]:
        """All violations of the invariants."""
        return self.lost + self.doubled + self.stuck + self.wrong_bytes + self.others


def judge(experiment: Experiment, seconds: float = 120) -> Verdict:
    """Wait until every job has ended, then check the invariants from outside. The service must be healthy again."""
    jobs = _ended(experiment, seconds)
    transitions = audit.read(experiment.engine)
    verdict = Verdict(
        experiment=experiment.name,
        jobs=len(jobs),
        faults=dict(experiment.faults),
        outcomes=dict(Counter(job["status"] for job in jobs)),
        attempts=sum(job["attempt"] for job in jobs),
    )
    verdict.lost = _lost(experiment, jobs)
    verdict.stuck = [f"{job['id']} is still {job['status']}" for job in jobs if job["status"] not in TERMINAL]
    verdict.stuck += [f"a runner of {run.job_id} lives" for run in experiment.witness.living()]
    for job_id, steps in transitions.items():
        verdict.doubled += [f"{job_id}: {violation}" for violation in audit.violations(steps)]
    verdict.doubled += _doubled(jobs)
    verdict.wrong_bytes = _wrong_downloads(experiment, jobs) + _wrong_files(experiment, jobs)
    verdict.others = _overlaps(experiment) + _broken_cancels(experiment, jobs)
    verdict.seconds = round(time.monotonic() - experiment.started, 1)
    _record(verdict)
    return verdict


def _ended(experiment: Experiment, seconds: float) -> list[dict[str, Any]]:
    """Return all jobs once they and their runners have ended, or their state after the timeout."""
    deadline = time.monotonic() + seconds
    while True:
        jobs = experiment.jobs()
        over = all(job["status"] in TERMINAL for job in jobs) and not experiment.witness.living()
        if over or time.monotonic() > deadline:
            return jobs
        time.sleep(0.3)


def _lost(experiment: Experiment, jobs: list[dict[str, Any]]) -> list[str]:
    """I1: every accepted job exists."""
    known = {job["id"] for job in jobs}
    accepted = experiment.history.read("submit", "ok")
    return [f"the accepted job {line['job']} is gone" for line in accepted if line["job"] not in known]


def _doubled(jobs: list[dict[str, Any]]) -> list[str]:
    """Return jobs with the same seed; the client sent every seed once."""
    seeds = Counter(job["options"]["seed"] for job in jobs)
    return [f"seed {seed} has {count} jobs" for seed, count in seeds.items() if count > 1]


def _wrong_downloads(experiment: Experiment, jobs: list[dict[str, Any]]) -> list[str]:
    """I4: every download has the published digest, in the job and in the ETag."""
    found = []
    for job in jobs:
        for name, artifact in job["artifacts"].items():
            answer = experiment.read(artifact["url"])
            digest = hashlib.sha256(answer.content).hexdigest()
            if {digest, answer.headers["ETag"].strip('"')} != {artifact["sha256"]}:
                found.append(f"{job['id']}: {name} is not what was published")
    missing = [job["id"] for job in jobs if job["status"] == "succeeded" and not job["artifacts"]]
    return found + [f"{job_id} has succeeded without results" for job_id in missing]


def _wrong_files(experiment: Experiment, jobs: list[dict[str, Any]]) -> list[str]:
    """I5, I6: accepted uploads are stored unchanged, and every stored file has the digest in its name."""
    store = FolderStore(experiment.settings.artifacts)
    sent = _digest(experiment.checkpoint)
    found = [f"{job['id']}: its upload has another digest" for job in jobs if job["checkpoint"]["sha256"] != sent]
    if jobs and not store.path(sent).exists():
        found.append("the upload of accepted jobs is gone")
    return found + [f"{path} has other contents" for path in stored_files(store.folder) if path.name != _digest(path)]


def stored_files(folder: Path) -> list[Path]:
    """Return the finished files of an artifact store."""
    return [path for path in folder.glob("??/*") if path.is_file()]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _overlaps(experiment: Experiment) -> list[str]:
    """I3: two attempts at a job overlap only while the first cannot know that it has lost the job."""
    allowed = experiment.settings.lease.total_seconds() + _KILL_GRACE
    longest = experiment.witness.longest_overlap()
    return [f"two attempts of a job overlapped for {longest:.1f} s"] if longest > allowed else []


def _broken_cancels(experiment: Experiment, jobs: list[dict[str, Any]]) -> list[str]:
    """I8: a job whose cancellation was accepted ends as canceled."""
    status = {job["id"]: job["status"] for job in jobs}
    accepted = [line["job"] for line in experiment.history.read("cancel", "ok")]
    return [
        f"{job_id} was to be canceled and has {status[job_id]}" for job_id in accepted if status[job_id] != "canceled"
    ]


def _record(verdict: Verdict) -> None:
    """Append the verdict to the file named in the environment."""
    if path := os.environ.get(RESULTS_VARIABLE):
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")
