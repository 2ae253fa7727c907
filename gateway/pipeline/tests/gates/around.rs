//! Around the way: the trace of a call, and the settings.

use std::time::Duration;

use bailiwick_pipeline::{
    Gateway, Settings,
    gates::ScreenLimits,
    ports::SendFailure,
    records::Outcome,
    trace::{Attr, CallTrace},
};

use crate::world::{Asking, Bench};

fn noted(trace: &CallTrace, name: &str) -> Option<String> {
    trace.root.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| match value {
        Attr::Str(text) => text.to_string(),
        Attr::Int(number) => number.to_string(),
        Attr::Bool(yes) => yes.to_string(),
    })
}

async fn traced(bench: &Bench, tool: &str) -> CallTrace {
    bench.call(tool, "{}").await;
    bench.fakes.traces.lock().unwrap().pop().unwrap()
}

#[tokio::test]
async fn a_call_is_one_trace_with_a_stage_for_each_gate() {
    let bench = Bench::new();
    let trace = traced(&bench, "tickets__get").await;
    let stages: Vec<&str> = trace.stages.iter().map(|stage| &*stage.name).collect();
    assert_eq!(
        stages,
        [
            "bailiwick.authenticate",
            "bailiwick.grant.resolve",
            "bailiwick.schema.validate",
            "bailiwick.policy.evaluate",
            "bailiwick.credential.issue",
            "bailiwick.record",
            "tools/call get",
            "bailiwick.result.inspect",
        ]
    );
    assert_eq!((&*trace.root.name, trace.trace_id, trace.important), ("tools/call tickets__get", [7; 16], false));
    assert!(trace.stages.iter().all(|stage| stage.start_ns < stage.end_ns && stage.end_ns < trace.root.end_ns));
    assert!(trace.stages.windows(2).all(|pair| pair[0].end_ns <= pair[1].start_ns));
    for (name, value) in [
        ("gen_ai.tool.name", "tickets__get"),
        ("bailiwick.server.name", "tickets"),
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", "2026-07-28"),
        ("jsonrpc.request.id", "id-1"),
        ("bailiwick.call.id", "call-1"),
        ("bailiwick.task.id", "g"),
        ("bailiwick.outcome", "success"),
        ("network.transport", "tcp"),
    ] {
        assert_eq!(noted(&trace, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!((noted(&trace, "error.type"), trace.root.error), (None, None));
}

/// A name that the caller chose is no name for a span.
#[tokio::test]
async fn a_refused_call_is_worth_keeping_and_names_no_tool() {
    let bench = Bench::new();
    let trace = traced(&bench, "evil\nname").await;
    assert_eq!((&*trace.root.name, trace.important, trace.root.error.clone()), ("tools/call", true, None));
    assert_eq!(noted(&trace, "gen_ai.tool.name"), None);
    assert_eq!(
        (noted(&trace, "bailiwick.gate").unwrap(), noted(&trace, "bailiwick.decision.reason").unwrap()),
        ("grant".into(), "unknown_tool".into())
    );
    assert!(!format!("{trace:?}").contains("evil"));
    // The stage it was stopped in ends with the call.
    assert_eq!(trace.stages.last().map(|stage| stage.end_ns), Some(trace.root.end_ns));
}

#[tokio::test]
async fn failures_are_errors_of_the_trace_and_refusals_are_not() {
    let bench = Bench::new();
    bench.replies(r#"{"content":[],"isError":true}"#);
    let trace = traced(&bench, "tickets__get").await;
    assert_eq!((noted(&trace, "error.type").as_deref(), trace.root.error), (Some("tool_error"), None));
    *bench.fakes.reply.lock().unwrap() = Box::new(|_| Err(SendFailure::Timeout(5)));
    let trace = traced(&bench, "tickets__get").await;
    assert_eq!((noted(&trace, "error.type").as_deref(), trace.root.error.as_deref()), (Some("timeout"), Some("timeout")));
    assert_eq!(trace.stages.last().unwrap().error.as_deref(), Some("no answer within 5 ms"));
    *bench.fakes.reply.lock().unwrap() = Box::new(|_| Ok(bailiwick_pipeline::gates::RawReply::error(1, String::new(), None)));
    let trace = traced(&bench, "tickets__get").await;
    assert_eq!(trace.root.error.as_deref(), Some("downstream_error"));
    assert!(!trace.important);
    for (tool, important) in [("vault__get", true), ("tickets__refund", true)] {
        assert_eq!(traced(&bench, tool).await.important, important, "{tool}");
    }
}

#[test]
fn the_defaults_are_those_of_the_handbook() {
    let settings = Settings::default();
    assert_eq!(
        (settings.hold, settings.retry, settings.list_ttl),
        (Duration::from_secs(45), Duration::from_secs(15), Duration::from_mins(1))
    );
    assert_eq!(settings.screen, ScreenLimits::default());
    let bench = Bench::new();
    let gateway: Gateway = bench.gateway();
    assert_eq!(gateway.ports().clock.random(), [7; 16]);
}

#[tokio::test]
async fn other_settings_count_from_the_next_call_on_for_every_clone() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    let clone = gateway.clone();
    let received = || bench.received(Some(("tickets__get", "{}")), Asking::plain());
    assert_eq!(clone.handle(&received()).await.outcome, Outcome::Success);
    gateway.set_settings(Settings { screen: ScreenLimits { bytes: 1, ..ScreenLimits::default() }, ..Settings::default() });
    assert_eq!(clone.handle(&received()).await.outcome, Outcome::DownstreamError);
}
