"""Traces through the part of MLflow's client that its own exporters use.

It is no public API: MLflow's public calls choose random ids, with which each upload would make another trace. Whoever
calls this is ready for any error.
"""

import json
from typing import TYPE_CHECKING, Any

from mlflow_bridge.target import Target
from mlflow_bridge.traces import Span, SpanFailure, Trace

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

_SPANS_AT_ONCE = 500
"""Some 700 kB in one request."""


def log_trace(target: Target, experiment_id: str, run_id: str, trace: Trace) -> None:
    """Send a trace; one with the same id is changed to it.

    Args:
        run_id: MLflow's id of the run whose page shows the trace.
    """
    from mlflow.entities.span import Span as MlflowSpan
    from mlflow.tracing.client import TracingClient

    client = TracingClient(target.uri)
    client.start_trace(_info(experiment_id, run_id, trace))
    for start in range(0, len(trace.spans), _SPANS_AT_ONCE):
        spans = [
            MlflowSpan.from_otel_proto(_proto(trace, span)) for span in trace.spans[start : start + _SPANS_AT_ONCE]
        ]
        client.log_spans(experiment_id, spans)


def _info(experiment_id: str, run_id: str, trace: Trace) -> Any:
    from mlflow.entities.trace_info import TraceInfo
    from mlflow.entities.trace_location import TraceLocation
    from mlflow.entities.trace_state import TraceState

    root = trace.spans[0]
    return TraceInfo(
        trace_id=f"tr-{trace.id}",
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=root.start_ns // 1_000_000,
        execution_duration=(root.end_ns - root.start_ns) // 1_000_000,
        state=TraceState.ERROR if trace.failed else TraceState.OK,
        request_preview=trace.request,
        response_preview=trace.response,
        trace_metadata={"mlflow.sourceRun": run_id},
        tags={"mlflow.traceName": trace.name},
    )


def _proto(trace: Trace, span: Span) -> "ProtoSpan":
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
    from opentelemetry.proto.trace.v1.trace_pb2 import Status

    proto = ProtoSpan(
        trace_id=bytes.fromhex(trace.id),
        span_id=bytes.fromhex(span.id),
        parent_span_id=bytes.fromhex(span.parent_id or ""),
        name=_encodable(span.name),
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        status=Status(code=Status.STATUS_CODE_ERROR if span.failed else Status.STATUS_CODE_OK),
    )
    for key, value in span.attributes.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        proto.attributes.add(key=key).value.string_value = _encodable(text)
    if span.failure:
        _add_exception(proto, span, span.failure)
    return proto


def _add_exception(proto: "ProtoSpan", span: Span, failure: SpanFailure) -> None:
    event = proto.events.add(name="exception", time_unix_nano=span.end_ns)
    for key, text in (("type", failure.kind), ("message", failure.message), ("stacktrace", failure.traceback)):
        event.attributes.add(key=f"exception.{key}").value.string_value = _encodable(text)


def _encodable(text: str) -> str:
    """Without lone surrogates and NUL, which protobuf and PostgreSQL refuse."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
