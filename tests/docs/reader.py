"""A reader who follows a page: one shell for the whole page, and more terminals if the page asks for them."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import Block, Command, commands_of
from tests.processes import free_port, process, wait_for

# The ports named on the pages. Tests replace them, because they may be in use.
_PORTS = re.compile(r"(?<![\d.])(5000|8000|8001|9000|9001)(?![\d.])")
# Start of the command, after its variables.
_COMMAND = re.compile(r"^((?:\w+=\S+ )*)")
_SERVE_ON_DEFAULT_PORT = re.compile(r"\bnern serve\b(?!.*--port)")


class Reader:
    """Runs a page in its own folder, which contains the examples of the repository."""

    def __init__(self, folder: Path, logs: Path, stack: ExitStack, service_port: int | None) -> None:
        """Begin a page. `service_port` is that of a running service, for a page that assumes one."""
        self._folder = folder
        self._logs = logs
        self._stack = stack
        self._ports: dict[str, int] = {} if service_port is None else {"8000": service_port}
        self._blocks = 0
        folder.mkdir()
        (folder / "examples").symlink_to(ROOT / "examples")
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("NERN_")}
        self._environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # The default for the client and the command line.
        self._environment["NERN_URL"] = f"http://127.0.0.1:{self._port('8000')}"
        self._shell = stack.enter_context(_shell(folder, self._environment))

    def read(self, block: Block) -> None:
        """Run the block, and compare its output with the page."""
        self._blocks += 1
        name = f"{self._blocks:02}-{block.language}"
        if block.own_terminal:
            self._start(self._here(block.text), name, python=block.language == "python")
        elif block.language == "console":
            for number, command in enumerate(commands_of(block)):
                self._compare(block, command, self._run(block, self._here(command.text), f"{name}-{number}"))
        else:
            script = self._here(block.text)
            if block.language == "python":
                path = self._logs / f"{name}.py"
                path.write_text(script, encoding="utf-8")
                script = f"{sys.executable} {path}\n"
            printed = self._run(block, script, name)
            if block.printed is not None:
                self._compare(block, Command(block.text, block.printed), printed)

    def _run(self, block: Block, script: str, name: str) -> str:
        """Run a script in the page's shell, and return its output."""
        source, output = self._logs / f"{name}.bash", self._logs / f"{name}.out"
        source.write_text(script, encoding="utf-8")
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"source {source} </dev/null >{output} 2>&1; echo done\n")
        self._shell.stdin.flush()
        ended = self._shell.stdout.readline()
        printed = output.read_text(encoding="utf-8", errors="replace")
        if ended != "done\n":
            pytest.fail(f"{block}: this does not work:\n{script}\nIt prints:\n{printed[-3000:]}{self._log_tails()}")
        return printed

    def _compare(self, block: Block, command: Command, printed: str) -> None:
        shown = self._here(command.printed)
        if not is_what_is_shown(shown, printed):
            pytest.fail(f"{block}: {command.text}\nThe page shows:\n{shown}\nIt prints:\n{printed[-3000:]}")

    def _start(self, script: str, name: str, *, python: bool = False) -> None:
        """Start a program that keeps running, and wait until it listens on its ports."""
        # Replaces the shell, so that signals reach the program.
        command = ["bash", "-c", _COMMAND.sub(r"\1exec ", script)]
        if python:
            path = self._logs / f"{name}.py"
            path.write_text(script, encoding="utf-8")
            command = [sys.executable, str(path)]
        log = self._logs / f"{name}.log"
        self._stack.enter_context(_terminal(command, self._environment, log, self._folder))
        named = {int(port) for port in re.findall(r"\d{4,5}", script)} & set(self._ports.values())
        for port in named:
            wait_for(partial(_is_open, port), what=f"{script} does not start; {log} says why")

    def _here(self, text: str) -> str:
        """Return the text with the ports of this run."""
        text = _SERVE_ON_DEFAULT_PORT.sub("nern serve --port 8000", text)
        return _PORTS.sub(lambda found: str(self._port(found[1])), text)

    def _port(self, named: str) -> int:
        if named not in self._ports:
            self._ports[named] = free_port()
        return self._ports[named]

    def _log_tails(self) -> str:
        return "".join(f"\n{log.name} ends with:\n{log.read_text()[-2000:]}" for log in self._logs.glob("*.log"))


def is_what_is_shown(shown: str, printed: str) -> bool:
    """Return true if output matches the page, with `…` for anything and ignoring spaces at line ends."""
    pattern = ".*".join(re.escape(part) for part in _tidy(shown).split("…"))
    return re.fullmatch(pattern, _tidy(printed), re.DOTALL) is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@contextmanager
def _terminal(command: list[str], environment: dict[str, str], log: Path, folder: Path) -> Iterator[None]:
    """Run a program until the end of the context, in its own terminal; closing that also ends its children."""
    with process(command, environment, log, folder) as program:
        yield
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)


@contextmanager
def _shell(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a shell that ends at the first failing command."""
    shell = subprocess.Popen(
        ["bash", "--norc", "-e", "-o", "pipefail"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with shell:
        try:
            yield shell
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
