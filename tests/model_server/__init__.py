"""A scripted model server: the providers' formats, deterministic, and as slow or wrong as it is told to be.

`python -m tests.model_server --listen 127.0.0.1:8000` runs it by itself. What it does with a request stands in the
request's model name (`scripted?tokens=20&frame_ms=5`, see `script.Script`), so that a ModelRoute chooses it.
`GET /received` lists what came in, `DELETE /received` forgets it.
"""
