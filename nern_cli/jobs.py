"""`nern jobs`: jobs of a service."""

import sys
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nern_cli.arguments import Json
from nern_cli.display import describe_progress, print_json, print_points, print_table
from nern_cli.service import (
    JobId,
    JobIds,
    Labels,
    Timeout,
    Url,
    as_json,
    follow,
    for_each,
    fraction_of,
    labels_of,
    print_metrics,
    service,
)
from nern_cli.terminal_text import print_line, print_row

if TYPE_CHECKING:
    from nern_client import Job, JobEvent

jobs = typer.Typer(help="List, follow, cancel and delete the jobs of a service.", no_args_is_help=True)
Kind = Literal["encoding", "reconstruction"]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per line for each job.")]


class Status(StrEnum):
    """Statuses of jobs, repeated here so that `nern --help` does not load the client."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@jobs.command("list")
def list_jobs(
    status: Annotated[list[Status] | None, typer.Option(help="Only jobs with this status. May be repeated.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only jobs of this kind.")] = None,
    label: Labels = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs to show.")] = 20,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show jobs, newest first; in a pipe, as lines of id, status, percent, time and name, separated by tabs."""
    with service(url) as client:
        found = list(islice(client.jobs.list(status=status or (), kind=kind, labels=labels_of(label)), limit))
    rows = [_row(job) for job in found]
    if json:
        print_json({"jobs": [as_json(job) for job in found]})
    elif not sys.stdout.isatty():
        for row in rows:
            print_row(row.values())
    elif rows:
        print_points(rows)
    else:
        print_line("There are no such jobs; create one with `nern submit`.")


@jobs.command()
def show(job: JobId, url: Url = None, json: Json = False) -> None:
    """Show all details of a job."""
    with service(url) as client:
        found = client.jobs.get(job)
    if json:
        print_json(as_json(found))
    else:
        known = found.model_dump(mode="json", exclude_none=True, exclude={"id", "links"})
        print_table(found.id, known)


@jobs.command()
def watch(
    job: JobId,
    timeout: Timeout = None,
    url: Url = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line for each change.")] = False,
) -> None:
    """Follow a job until it ends. Exit status: 0 succeeded, 3 failed, 4 canceled, 5 timed out."""

    def print_line(job: "Job") -> None:
        if json:
            print_json(as_json(job))
            sys.stdout.flush()

    with service(url) as client:
        ended = follow(client, job, timeout, print_line)
    if not json:
        print_metrics(ended.id, ended)


@jobs.command()
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow until the job has ended.")] = False,
    url: Url = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line for each event.")] = False,
) -> None:
    """Show the events of a job, one per line."""
    with service(url) as client:
        for event in client.jobs.events(job, follow=follow):
            if json:
                print_json(event.model_dump(mode="json"))
            else:
                print_line(f"{event.time:%Y-%m-%d %H:%M:%S}  {event.kind:<9}  {_told(event)}".rstrip())
            sys.stdout.flush()


@jobs.command()
def cancel(job: JobIds, url: Url = None, json: JsonLines = False) -> None:
    """Cancel jobs. A running one is `canceling` until its worker has stopped."""
    with service(url) as client:

        def cancel_one(job_id: str) -> None:
            found = client.jobs.cancel(job_id)
            if json:
                print_json(as_json(found))
            else:
                print_line(f"{found.id} is {found.status}.")

        for_each(job, cancel_one)


@jobs.command()
def delete(job: JobIds, url: Url = None, json: JsonLines = False) -> None:
    """Delete jobs that have ended, with their files."""
    with service(url) as client:

        def delete_one(job_id: str) -> None:
            client.jobs.delete(job_id)
            if json:
                print_json({"id": job_id, "deleted": True})
            else:
                print_line(f"{job_id} is deleted.")

        for_each(job, delete_one)


def _told(event: "JobEvent") -> str:
    """Describe an event in words."""
    from nern_client import Progress

    if event.kind == "progress":
        progress = Progress.model_validate(event.data)
        return f"{event.data['phase']} {100 * progress.fraction:.0f} %  {describe_progress(progress)}"
    reason = event.data.get("message") or event.data.get("reason") or ""
    return f"attempt {event.data['attempt']}  {reason}"


def _row(job: "Job") -> dict[str, str]:
    return {
        "id": job.id,
        "status": job.status.value,
        "percent": f"{100 * fraction_of(job):.0f}",
        "created": job.created_at.strftime("%Y-%m-%d %H:%M"),
        "name": job.name or "",
    }
