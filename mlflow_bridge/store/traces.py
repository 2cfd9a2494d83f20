"""Traces through the part of MLflow's client that its own exporters use.

It is no public API: MLflow's public calls choose random ids, with which each upload would make another trace. Whoever
calls this is ready for any error.
"""

import base64
import json
from typing import TYPE_CHECKING, Any

from mlflow_bridge import mlflow_internals
from mlflow_bridge.limits import storable
from mlflow_bridge.mapping.timeline import Span, SpanFailure, Trace
from mlflow_bridge.model.captured_values import CapturedAssessment, CapturedTrace
from mlflow_bridge.store.target import Target
from mlflow_bridge.tags import SOURCE_RUN, TRACE_NAME

if TYPE_CHECKING:
    from mlflow.entities import Assessment
    from mlflow.entities.span import Span as MlflowSpan
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

_SPANS_AT_ONCE = 500
"""Some 700 kB in one request."""


def log_trace(target: Target, experiment_id: str, run_id: str, trace: Trace) -> None:
    """Send a trace; one with the same id is changed to it.

    Args:
        run_id: MLflow's id of the run whose page shows the trace.
    """
    spans = (mlflow_internals.span_from_protobuf(_proto(trace, span)) for span in trace.spans)
    mlflow_internals.send_trace(target.uri, experiment_id, _info(experiment_id, run_id, trace), spans, _SPANS_AT_ONCE)


def log_task_trace(target: Target, experiment_id: str, trace: CapturedTrace) -> str:
    """Send a trace that a task recorded; one with the same id is changed to it.

    Returns:
        Where its attachments belong.
    """
    from mlflow.entities.trace_info import TraceInfo
    from mlflow.entities.trace_location import TraceLocation
    from mlflow.entities.trace_state import TraceState

    info = TraceInfo(
        trace_id=trace.id,
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=trace.start_ms,
        execution_duration=trace.duration_ms,
        state=TraceState(trace.state),
        request_preview=storable(trace.request) if trace.request else None,
        response_preview=storable(trace.response) if trace.response else None,
        client_request_id=trace.client_request_id,
        trace_metadata=dict(trace.metadata),
        tags=dict(trace.tags),
        assessments=[made for one in trace.assessments if (made := _assessment(trace.id, one))],
    )
    spans = (_span(trace.id, text) for text in trace.spans)
    stored = mlflow_internals.send_trace(target.uri, experiment_id, info, spans, _SPANS_AT_ONCE)
    return str(stored.tags["mlflow.artifactLocation"])


def _span(trace_id: str, text: str) -> "MlflowSpan":
    """A span from the JSON that MLflow keeps of it, which has the trace's id in a form of its own."""
    described = json.loads(text)
    described["trace_id"] = base64.b64encode(bytes.fromhex(trace_id.removeprefix("tr-"))).decode()
    described["name"] = storable(described["name"])
    return mlflow_internals.span_from_json(described)


def _assessment(trace_id: str, said: CapturedAssessment) -> "Assessment | None":
    """None if it is of a kind that only a server makes."""
    from mlflow.entities import AssessmentError, AssessmentSource, Expectation, Feedback

    common: dict[str, Any] = {
        "name": said.name,
        "source": AssessmentSource(said.source_type, said.source_id),
        "trace_id": trace_id,
        "metadata": json.loads(said.metadata) if said.metadata else None,
        "span_id": said.span_id,
        "create_time_ms": said.created_ms,
        "last_update_time_ms": said.updated_ms,
    }
    made: Assessment
    if said.kind == "feedback":
        error = AssessmentError(**json.loads(said.error)) if said.error else None
        made = Feedback(value=json.loads(said.value), error=error, rationale=said.rationale, **common)
    elif said.kind == "expectation":
        made = Expectation(value=json.loads(said.value), **common)
    else:
        return None
    made.assessment_id = said.id
    return made


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
        trace_metadata={SOURCE_RUN: run_id},
        tags={TRACE_NAME: trace.name},
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
