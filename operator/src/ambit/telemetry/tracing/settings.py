"""What OpenTelemetry's standard variables say of tracing, judged before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ambit.settings import SettingsError, positive_number

SAMPLERS: Final = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)
_PROTOCOL: Final = "http/protobuf"
_EXAMPLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT=http://otel-collector.observability:4318"


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go, and how many of them. What else the exporter is told (`OTEL_EXPORTER_OTLP_HEADERS`, certificates,
    time limits, compression) and how batches are made (`OTEL_BSP_*`), the SDK reads by itself.
    """

    traces_url: str
    """`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT` and `/v1/traces`."""
    sampler: str = "parentbased_always_on"
    """`OTEL_TRACES_SAMPLER`: one of `SAMPLERS`."""
    ratio: float = 1.0
    """`OTEL_TRACES_SAMPLER_ARG`: what part of the traces that begin here, 0 to 1."""
    max_waiting: int = 2048
    """`OTEL_BSP_MAX_QUEUE_SIZE`: how many spans wait for the collector at most; more are dropped."""
    instance: str = ""
    """`AMBIT_POD_NAME`, else `HOSTNAME`: which process of its kind this is."""

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "TracingSettings | None":
        """None: tracing is off. Raises SettingsError."""
        base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        url = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (f"{base.rstrip('/')}/v1/traces" if base else "")
        if not url or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return None
        if not url.startswith(("http://", "https://")):  # not repeated: there may be credentials in it
            raise SettingsError(f"the OTLP endpoint is no http or https URL; write for example {_EXAMPLE}")
        for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if environ.get(name, _PROTOCOL) != _PROTOCOL:
                raise SettingsError(
                    f"{name}={environ[name]!r} is not spoken; write {name}={_PROTOCOL}, or leave it out"
                )
        sampler = environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
        if sampler not in SAMPLERS:
            raise SettingsError(f"OTEL_TRACES_SAMPLER={sampler!r} is none of {', '.join(SAMPLERS)}")
        return TracingSettings(
            traces_url=url,
            sampler=sampler,
            ratio=_ratio(environ) if sampler.endswith("traceidratio") else 1.0,
            max_waiting=positive_number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048),
            instance=environ.get("AMBIT_POD_NAME") or environ.get("HOSTNAME", ""),
        )


def _ratio(environ: Mapping[str, str]) -> float:
    written = environ.get("OTEL_TRACES_SAMPLER_ARG", "1")
    try:
        ratio = float(written)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise SettingsError(f"OTEL_TRACES_SAMPLER_ARG={written!r} is no part of all traces; write for example 0.1")
    return ratio
