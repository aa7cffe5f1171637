"""The quickstart's container Agent as an ordinary program, against a server that answers, and then refuses for good."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

CODER = Path(__file__).resolve().parents[2] / "examples" / "coder"
EXHAUSTED = {
    "message": "the budget is exhausted",
    "reason": "LimitExceeded",
    "account": "budget/demo/team",
    "bound": "usd/Day",
    "limit": "0.05",
    "spent": "0.049",
    "resetsAt": "2026-11-22T00:00:00Z",
}


@contextmanager
def a_model_server(answers: list[str | int]) -> Generator[str]:
    """Streams a text for each call, or refuses with a status; its base URL. The last answer is given for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, int):
                self._answer(answer, "application/json", json.dumps({"error": EXHAUSTED}))
            else:
                self._answer(200, "text/event-stream", f"data: {json.dumps(chunk(answer))}\n\ndata: [DONE]\n\n")

        def _answer(self, status: int, content_type: str, body: str) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("x-should-retry", "false")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it so)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/openai/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "local", "choices": [choice]}


@contextmanager
def a_running_coder(
    home: Path, url: str, project: Path = CODER / "project"
) -> Generator[tuple["subprocess.Popen[str]", Callable[[str], list[str]]]]:
    """The agent's process, and a way to read its lines up to one that contains a text."""
    bundle = home / "textkit.bundle"
    subprocess.run([CODER / "make-bundle.sh", project, bundle], check=True)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "BUNDLE": str(bundle), "AMBIT_INPUT": "document it"}
    environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "a-token"}
    command = [sys.executable, str(CODER / "agent.py")]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    lines: Queue[str] = Queue()
    assert process.stdout is not None
    output = process.stdout
    reader = threading.Thread(target=lambda: [lines.put(line.rstrip("\n")) for line in output])
    reader.start()

    def until(text: str) -> list[str]:
        seen: list[str] = []
        while not seen or text not in seen[-1]:
            seen.append(lines.get(timeout=60))
        return seen

    try:
        yield process, until
    finally:
        process.kill()
        process.wait()
        reader.join()
        output.close()


def in_repository(home: Path, *arguments: str) -> str:
    """What git prints in the repository that the agent works on."""
    command = ["git", "-C", str(home / "textkit"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commits(home: Path) -> list[str]:
    return in_repository(home, "log", "--author=coder", "--format=%s").splitlines()


def functions_of(file: Path) -> list[str]:
    """Their names, in the order in which the agent takes them."""
    return [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]


def test_it_commits_what_the_model_says_until_it_sees_a_402_and_then_goes_on_without_a_model(tmp_path: Path) -> None:
    answers: list[str | int] = [
        "Adds a prefix to lines.",
        "Document indent",
        "Numbers lines.",
        "Document numbering",
        402,
    ]
    with a_model_server(answers) as url, a_running_coder(tmp_path, url) as (process, until):
        assert until("cloned textkit")[0] == "document it"
        refusal = until("refused")[-1]
        assert refusal == (
            "refused status=402 reason=LimitExceeded account=budget/demo/team bound=usd/Day limit=0.05 spent=0.049"
            " resetsAt=2026-11-22T00:00:00Z"
        )
        until("commits of mine: 2")
        until("tests pass")
        assert commits(tmp_path) == ["Document numbering", "Document indent"]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


A_RULE = """
import inspect
import unittest

from textkit import lines


class Documentation(unittest.TestCase):
    def test_what_is_documented_begins_with_a_verb(self):
        for _, function in inspect.getmembers(lines, inspect.isfunction):
            assert (inspect.getdoc(function) or "Does it").split()[0].endswith("s"), function
"""
"""A test of the repository that an edit can break."""


def test_an_edit_that_breaks_the_repositorys_tests_is_taken_back_and_only_one_that_passes_is_committed(
    tmp_path: Path,
) -> None:
    project = tmp_path / "project"
    shutil.copytree(CODER / "project", project)
    (project / "tests" / "test_documentation.py").write_text(A_RULE)
    first, second = functions_of(project / "textkit" / "lines.py")[:2]
    answers: list[str | int] = ["A function of lines.", "Does its work.", f"Document {second}", 402]
    with a_model_server(answers) as url, a_running_coder(tmp_path, url, project) as (_, until):
        seen = until("commits of mine")
        assert f"{first}: broke the tests, taken back" in seen
        assert [line.rpartition(" Document ")[2] for line in seen if "committed" in line] == [second]
        until("tests pass")
    assert commits(tmp_path) == [f"Document {second}"]
    assert in_repository(tmp_path, "diff", "HEAD") == ""
    kept = in_repository(tmp_path, "show", "HEAD:textkit/lines.py")
    assert ("A function of lines" in kept, "Does its work" in kept) == (False, True)


def test_an_edit_that_changes_nothing_is_not_committed(tmp_path: Path) -> None:
    first, second, third = functions_of(CODER / "project" / "textkit" / "lines.py")
    others = [name for file in ("slugs", "words") for name in functions_of(CODER / "project/textkit" / f"{file}.py")]
    # Once round, each documented and committed; then the same again.
    answers: list[str | int] = []
    for name in (first, second, third, *others):
        answers += ["Does its work.", f"Document {name}"]
    with a_model_server([*answers, "Does its work.", 402]) as url, a_running_coder(tmp_path, url) as (_, until):
        seen = until("commits of mine")
    assert f"{first}: nothing new" in seen
    assert len(commits(tmp_path)) == len(answers) // 2


def test_another_refusal_than_402_ends_it_with_an_error(tmp_path: Path) -> None:
    with a_model_server([403]) as url, a_running_coder(tmp_path, url) as (process, until):
        assert "status=403" in until("refused")[-1]
        assert process.wait(timeout=30) == 1


def test_whatever_the_model_says_no_commit_breaks_the_tests(tmp_path: Path) -> None:
    hostile = '"""\nraise SystemExit("broken")\n"""\\'
    answers: list[str | int] = [hostile, "t", hostile, "t", hostile, "t", 402]
    with a_model_server(answers) as url, a_running_coder(tmp_path, url) as (_, until):
        until("commits of mine: 3")
        until("tests pass")
    assert '"""' not in " ".join(commits(tmp_path))
