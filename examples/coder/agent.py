"""A coding agent: documents a small library, function by function, each in a commit of its own that passes the tests.

It is an ordinary program with the unmodified `openai` SDK: where the model is and as whom to call it stands in the
environment (OPENAI_BASE_URL, OPENAI_API_KEY), as everywhere. It asks for as long as it is answered. When its budget
is exhausted the call fails with status 402; then it says what stood in the way and goes on with what needs no model
(the tests), until whoever runs it ends it.
"""

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai

MODEL = os.environ.get("MODEL", "local")
BUNDLE = Path(os.environ.get("BUNDLE", "/opt/coder/textkit.bundle"))
WORKSPACE = Path(os.environ.get("HOME", "/workspace"))
SECONDS_BETWEEN_TESTS = 10


@dataclass(frozen=True)
class Function:
    """A function of the library, as it stands in its file."""

    file: Path
    name: str
    source: str
    first_body_line: int
    """Of the body without its docstring, counted from 1."""
    docstring_lines: range
    """The lines of its docstring; empty if it has none."""


def say(line: str) -> None:
    print(line, flush=True)


def git(repository: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=coder", "-c", "user.email=coder@example.com"]
    done = subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def clone() -> Path:
    repository = WORKSPACE / "textkit"
    subprocess.run(["git", "clone", "--quiet", "--branch", "main", BUNDLE, repository], check=True)
    return repository


def functions(repository: Path) -> Iterator[Function]:
    """Every function of the library, read afresh from its file when its turn comes."""
    for file in sorted((repository / "textkit").glob("*.py")):
        for name in [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]:
            yield find(file, name)


def find(file: Path, name: str) -> Function:
    text = file.read_text()
    node = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == name)
    documented = ast.get_docstring(node) is not None
    first, rest = node.body[0], node.body[1 if documented else 0]
    lines = range(first.lineno, (first.end_lineno or first.lineno) + 1) if documented else range(0)
    return Function(file, name, ast.get_source_segment(text, node) or "", rest.lineno, lines)


def ask(client: openai.OpenAI, question: str) -> str:
    """One call, streamed; the answer's first sentence."""
    messages = [{"role": "user", "content": question}]
    stream = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=48, stream=True)
    answer = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    sentence = " ".join(answer.split()).replace('"', "'").replace("\\", "/").split(". ")[0]
    return sentence.strip(" `*#'")[:90]


def document(function: Function, sentence: str) -> None:
    """Puts a docstring in, or in the place of the one that is there."""
    lines = function.file.read_text().split("\n")
    for number in reversed(function.docstring_lines):
        del lines[number - 1]
    at = function.docstring_lines.start or function.first_body_line
    lines.insert(at - 1, f'    """{sentence.rstrip(".")}."""')
    function.file.write_text("\n".join(lines))


def tests_pass(repository: Path) -> bool:
    command = [sys.executable, "-m", "unittest", "discover", "--quiet"]
    return subprocess.run(command, cwd=repository, capture_output=True, check=False).returncode == 0


def improve(client: openai.OpenAI, repository: Path, function: Function) -> None:
    """One round of work: two questions, an edit, the tests, and a commit or the way back."""
    sentence = ask(client, f"Say in one short sentence what this Python function does.\n\n{function.source}")
    if not sentence:
        say(f"{function.name}: the model had nothing to say")
        return
    document(function, sentence)
    if not git(repository, "status", "--porcelain", "--untracked-files=no"):
        say(f"{function.name}: nothing new")
        return
    if not tests_pass(repository):
        git(repository, "checkout", "--quiet", "--", ".")
        say(f"{function.name}: broke the tests, taken back")
        return
    subject = ask(client, f"Write a title of five words for this change: document {function.name}: {sentence}")
    git(repository, "commit", "--quiet", "--all", "--message", subject or f"Document {function.name}")
    say(f"{function.name}: committed {git(repository, 'log', '-1', '--format=%h %s')}")


def tell(refused: openai.APIStatusError) -> None:
    """Says which bound stood in the way, for people and in a form that programs read."""
    said = refused.body if isinstance(refused.body, dict) else {}
    parts = " ".join(
        f"{name}={said.get(name)}" for name in ("reason", "account", "bound", "limit", "spent", "resetsAt")
    )
    say(f"refused status={refused.status_code} {parts}")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    say(os.environ.get("AMBIT_INPUT") or "no task given; documenting the library")
    repository = clone()
    say(f"cloned textkit at {git(repository, 'log', '-1', '--format=%h %s')}")
    client = openai.OpenAI(max_retries=8)  # a rate limit passes; what is final, the SDK does not try again
    try:
        while True:
            for function in functions(repository):
                improve(client, repository, function)
    except openai.APIStatusError as refused:
        tell(refused)
        if refused.status_code != 402:
            raise
    say(f"commits of mine: {git(repository, 'rev-list', '--count', 'HEAD', '--author=coder')}")
    while True:  # without a model there is still something to do; the session's runtime bound ends it
        say("tests pass" if tests_pass(repository) else "tests fail")
        time.sleep(SECONDS_BETWEEN_TESTS)


if __name__ == "__main__":
    main()
