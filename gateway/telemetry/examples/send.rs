//! Sends a few traces to the collector that the `OTEL_*` variables name, to see them in a receiver that isn't ours:
//! `OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 cargo run -p bailiwick-telemetry --example send`

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bailiwick_telemetry::{Exporter, Importance, Link, Settings, SpanId, SpanKind, SpanTree, TraceId};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = Exporter::from_env(|name| std::env::var(name).ok(), &Settings::default())?;
    let exporter = exporter.ok_or("set OTEL_EXPORTER_OTLP_ENDPOINT")?;
    #[expect(clippy::disallowed_methods, reason = "an example has no clock of its own")]
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let tree = refused_call(now);
    println!("{}", tree.trace_id);
    exporter.finish(tree);
    let drain = exporter.shutdown(Duration::from_secs(5)).await;
    println!("{drain:?} {:?}", exporter.counts());
    Ok(())
}

fn refused_call(now: u64) -> SpanTree {
    let mut tree = SpanTree::new();
    tree.importance = Importance::Keep;
    let caller = TraceId::random();
    tree.links.push(Link { trace_id: caller, span_id: SpanId::random() });
    let root = tree.open("tools/call tickets__refund", SpanKind::Server, None, now);
    tree.set(root, "mcp.method.name", "tools/call");
    tree.set(root, "gen_ai.tool.name", "tickets__refund");
    tree.set(root, "bailiwick.outcome", "downstream_error");
    tree.set(root, "bailiwick.request.size", 812_u64);
    tree.set(root, "bailiwick.negative", -7_i64);
    tree.set(root, "bailiwick.ratio", 0.25);
    tree.set(root, "bailiwick.schema.valid", true);
    tree.set(root, "bailiwick.long", "é".repeat(300));
    tree.set(root, "bailiwick.detection.rules", vec![Cow::Borrowed("tool_loop"), Cow::Borrowed("probe")]);
    let policy = tree.open("bailiwick.policy.evaluate", SpanKind::Internal, Some(root), now + 1_000);
    tree.set(policy, "bailiwick.decision", "allow");
    tree.close(policy, now + 90_000);
    let client = tree.open("tools/call refund", SpanKind::Client, Some(root), now + 100_000);
    tree.fail(client, "connection reset by the connector");
    tree.close(client, now + 900_000);
    tree.close(root, now + 1_000_000);
    tree
}
