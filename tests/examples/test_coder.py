"""The quickstart's container Agent as an ordinary program, against a server that answers, and then refuses for good."""

import json
import os
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
def a_running_coder(home: Path, url: str) -> Generator[tuple["subprocess.Popen[str]", Callable[[str], list[str]]]]:
    """The agent's process, and a way to read its lines up to one that contains a text."""
    bundle = home / "textkit.bundle"
    subprocess.run([CODER / "make-bundle.sh", CODER / "project", bundle], check=True)
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


def commits(home: Path) -> list[str]:
    log = ["git", "-C", str(home / "textkit"), "log", "--author=coder", "--format=%s"]
    return subprocess.run(log, check=True, capture_output=True, text=True).stdout.splitlines()


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
