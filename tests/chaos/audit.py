"""A log of every change of a job's state, written by database triggers, which the service cannot bypass."""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from app.jobs.models import TERMINAL

_TABLE = """
CREATE TABLE chaos_transitions (
    number {serial}, job_id VARCHAR(40), before VARCHAR(16), after VARCHAR(16), attempt INTEGER)
"""
_INSERT = """
INSERT INTO chaos_transitions (job_id, before, after, attempt) VALUES (NEW.id, OLD.status, NEW.status, NEW.attempt);
"""
_CHANGED = " OR ".join(
    f"CAST(OLD.{column} AS TEXT) IS DISTINCT FROM CAST(NEW.{column} AS TEXT)"
    for column in ("status", "attempt", "artifacts", "metrics", "error_code")
)
_SQLITE = (
    _TABLE.format(serial="INTEGER PRIMARY KEY AUTOINCREMENT"),
    f"CREATE TRIGGER chaos_changes AFTER UPDATE ON jobs WHEN {_CHANGED} BEGIN {_INSERT} END",
)
_POSTGRES = (
    _TABLE.format(serial="BIGSERIAL PRIMARY KEY"),
    f"CREATE FUNCTION chaos_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_INSERT} RETURN NULL; END $$",
    f"CREATE TRIGGER chaos_changes AFTER UPDATE ON jobs FOR EACH ROW WHEN ({_CHANGED}) EXECUTE FUNCTION chaos_log()",
)
_ALLOWED = {
    ("queued", "running"),
    ("queued", "canceled"),
    ("running", "queued"),
    ("running", "canceling"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("canceling", "canceled"),
}


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a row."""

    job_id: str
    before: str
    after: str
    attempt: int


def install(engine: Engine) -> None:
    """Create the log in a database that has the schema."""
    with engine.begin() as connection:
        for statement in _SQLITE if engine.dialect.name == "sqlite" else _POSTGRES:
            connection.exec_driver_sql(statement)


def read(engine: Engine) -> dict[str, list[Transition]]:
    """Return the transitions of each job, in order."""
    found: dict[str, list[Transition]] = {}
    with engine.connect() as connection:
        query = text("SELECT job_id, before, after, attempt FROM chaos_transitions ORDER BY number")
        for row in connection.execute(query):
            found.setdefault(row.job_id, []).append(Transition(*row))
    return found


def violations(transitions: list[Transition]) -> list[str]:
    """Return the violations of the state machine (I1, I2, I3) in one job's log."""
    found = []
    state, attempt = "queued", 0
    for step in transitions:
        if step.before != state or (step.before, step.after) not in _ALLOWED:
            found.append(f"{step.before} became {step.after} where it was {state}")
        claimed = step.after == "running"
        if step.attempt != attempt + claimed:
            found.append(f"attempt {step.attempt} came after {attempt} on the way to {step.after}")
        state, attempt = step.after, step.attempt
    if sum(step.after in TERMINAL for step in transitions) > 1:
        found.append("it ended more than once")
    return found
