"""Build every image of the project from its Dockerfile, each once per change of what goes into it.

`python -m e2e.images build [NAME…] | list | tags`. An image's tag is a hash of its inputs, so an unchanged image is
found, not built; what was built lies in one OCI layout, where images share their layers, and `python -m e2e.cluster
load` takes it from there.
"""
