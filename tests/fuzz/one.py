"""One fuzzer's process: `python -m tests.fuzz.one TARGET LIBFUZZER-ARGUMENTS`; an input's path replays it."""

import sys

import atheris

# Its package names this in a way that no type checker follows.
with atheris.instrument_imports(  # type: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    include=["ambit.gateway"], enable_loader_override=False
):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzzes until libFuzzer has enough, which ends the process."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
