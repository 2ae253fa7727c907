//! The exporter against real sockets: a receiver with a protobuf reader of its own, and collectors that are sick.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may fail so, and exports nothing"
)]

mod reader;
mod receiver;

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use bailiwick_telemetry::{Counts, Drain, Exporter, Importance, Link, Settings, SpanId, SpanKind, SpanTree, Status, TraceId};

use crate::{
    reader::{Message, Value},
    receiver::{Manner, Receiver, warnings},
};

/// Longer than anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn exporter(endpoint: &str, variables: &[(&str, &str)]) -> Exporter {
    let env = |name: &str| {
        let pair = variables.iter().find(|(known, _)| *known == name);
        pair.map(|(_, value)| (*value).to_owned())
    };
    let settings = Settings { endpoint: Some(endpoint.to_owned()), ..Settings::default() };
    Exporter::from_env(env, &settings).unwrap().unwrap()
}

fn small_tree() -> SpanTree {
    let mut tree = SpanTree::new();
    tree.open("resources/read", SpanKind::Server, None, 1);
    tree
}

async fn until(exporter: &Exporter, reached: impl Fn(Counts) -> bool) -> Counts {
    let start = Instant::now();
    while !reached(exporter.counts()) {
        assert!(start.elapsed() < DEADLINE, "{:?}", exporter.counts());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    exporter.counts()
}

fn full_tree() -> SpanTree {
    let mut tree = SpanTree::new();
    tree.links.push(Link { trace_id: TraceId::from_bytes([7; 16]).unwrap(), span_id: SpanId::from_bytes([9; 8]).unwrap() });
    let root = tree.open("tools/call tickets__refund", SpanKind::Server, None, 1_700_000_000_000_000_000);
    tree.set(root, "mcp.method.name", "tools/call");
    tree.set(root, "bailiwick.request.size", 812_u64);
    tree.set(root, "bailiwick.schema.valid", false);
    tree.set(root, "ratio", 0.25);
    tree.set(root, "below", -1_i64);
    tree.set(root, "empty", "");
    tree.set(root, "long", "é".repeat(300));
    let rules = vec![Cow::Borrowed("tool_loop"), Cow::Owned("x".repeat(300))];
    tree.set(root, "bailiwick.detection.rules", rules);
    let policy = tree.open("bailiwick.policy.evaluate", SpanKind::Internal, Some(root), 1_700_000_000_000_000_100);
    tree.close(policy, 1_700_000_000_000_000_200);
    let client = tree.open("tools/call refund", SpanKind::Client, Some(root), 1_700_000_000_000_000_300);
    tree.fail(client, "connection reset");
    tree.close(client, 1_700_000_000_000_000_400);
    tree.span_mut(root).unwrap().status = Status::Ok;
    tree.close(root, 1_700_000_000_000_000_500);
    tree
}

#[tokio::test]
async fn a_tree_arrives_whole() {
    let receiver = Receiver::start(Manner::Accept).await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret, x-tenant = a%2Cb"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=not-this,deployment.environment.name=te%20st"),
        ("OTEL_SERVICE_NAME", "front"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ];
    let exporter = exporter(&receiver.address(), &variables);
    let tree = full_tree();
    exporter.finish(tree.clone());
    until(&exporter, |counts| counts.exported == 3).await;

    let request = receiver.requests().remove(0);
    assert_eq!(request.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(request.header("content-type"), ["application/x-protobuf"]);
    assert_eq!(request.header("authorization"), ["Bearer s3cret"]);
    assert_eq!(request.header("x-tenant"), ["a,b"]);

    let resource_spans = Message::read(&request.body).only(1).message();
    let resource = resource_spans.only(1).message().attributes(1);
    assert_eq!(resource["service.name"], Value::text("front"));
    assert_eq!(resource["deployment.environment.name"], Value::text("te st"));
    assert_eq!(resource["telemetry.sdk.name"], Value::text("bailiwick-telemetry"));
    assert!(resource.contains_key("service.instance.id") && resource.contains_key("service.version"));
    let scope_spans = resource_spans.only(2).message();
    assert_eq!(*scope_spans.only(1).message().only(1), Value::text("bailiwick"));
    let spans: Vec<Message> = scope_spans.all(2).map(Value::message).collect();
    assert_eq!(spans.len(), 3);
    check_root(&spans[0], &tree);

    let root_id = Value::Bytes(tree.spans[0].id.as_bytes().to_vec());
    assert_eq!(*spans[1].only(4), root_id);
    assert_eq!(*spans[1].only(6), Value::Number(1));
    assert_eq!((spans[1].all(13).count(), spans[1].all(15).count()), (0, 0));
    assert_eq!(*spans[2].only(4), root_id);
    assert_eq!(*spans[2].only(6), Value::Number(3));
    let status = spans[2].only(15).message();
    assert_eq!((status.only(2), status.only(3)), (&Value::text("connection reset"), &Value::Number(2)));
}

fn check_root(root: &Message, tree: &SpanTree) {
    assert_eq!(*root.only(1), Value::Bytes(tree.trace_id.as_bytes().to_vec()));
    assert_eq!(*root.only(2), Value::Bytes(tree.spans[0].id.as_bytes().to_vec()));
    assert_eq!(root.all(4).count(), 0);
    assert_eq!(*root.only(5), Value::text("tools/call tickets__refund"));
    assert_eq!(*root.only(6), Value::Number(2));
    assert_eq!(*root.only(7), Value::Fixed64(1_700_000_000_000_000_000));
    assert_eq!(*root.only(8), Value::Fixed64(1_700_000_000_000_000_500));
    let attributes = root.attributes(9);
    assert_eq!(attributes.len(), 8);
    assert_eq!(attributes["mcp.method.name"], Value::text("tools/call"));
    assert_eq!(attributes["bailiwick.request.size"], Value::Number(812));
    assert_eq!(attributes["bailiwick.schema.valid"], Value::Number(0));
    assert_eq!(attributes["ratio"], Value::Fixed64(0.25_f64.to_bits()));
    assert_eq!(attributes["below"], Value::Number(u64::MAX));
    assert_eq!(attributes["empty"], Value::text(""));
    assert_eq!(attributes["long"], Value::text(&"é".repeat(256)));
    let rules: Vec<Value> =
        attributes["bailiwick.detection.rules"].message().all(1).map(|item| item.message().only(1).clone()).collect();
    assert_eq!(rules, [Value::text("tool_loop"), Value::text(&"x".repeat(256))]);
    let link = root.only(13).message();
    assert_eq!((link.only(1), link.only(2)), (&Value::Bytes(vec![7; 16]), &Value::Bytes(vec![9; 8])));
    assert_eq!(*root.only(15).message().only(3), Value::Number(1));
    assert_eq!(*root.only(16), Value::Fixed32(0x101));
}

#[tokio::test]
async fn a_trusted_caller_is_the_parent_of_the_root_alone() {
    let receiver = Receiver::start(Manner::Accept).await;
    let exporter = exporter(&receiver.address(), &[("OTEL_BSP_SCHEDULE_DELAY", "0")]);
    let mut tree = full_tree();
    tree.remote_parent = SpanId::from_bytes([3; 8]);
    exporter.finish(tree.clone());
    until(&exporter, |counts| counts.exported == 3).await;
    let spans = receiver.spans();
    assert_eq!(*spans[0].only(4), Value::Bytes(vec![3; 8]));
    assert_eq!(*spans[0].only(16), Value::Fixed32(0x301));
    assert_eq!(*spans[1].only(4), Value::Bytes(tree.spans[0].id.as_bytes().to_vec()));
}

#[tokio::test]
async fn spans_go_in_batches_and_none_is_lost_at_shutdown() {
    let receiver = Receiver::start(Manner::Accept).await;
    let variables = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"), ("OTEL_BSP_SCHEDULE_DELAY", "60000")];
    let exporter = exporter(&receiver.address(), &variables);
    for _ in 0..35 {
        exporter.finish(full_tree());
    }
    assert_eq!(exporter.shutdown(DEADLINE).await, Drain::Complete);
    let counts = exporter.counts();
    assert_eq!((counts.exported, counts.dropped, counts.failed), (105, 0, 0));
    assert_eq!(receiver.spans().len(), 105);
    assert!(receiver.requests().len() >= 105 / 10);
    exporter.finish(full_tree());
    assert_eq!(exporter.counts().dropped, 3, "after shutdown");
    assert_eq!(exporter.queued(), 0);
}

#[tokio::test]
async fn a_dead_collector_costs_spans_and_is_warned_of_once() {
    let port = receiver::dead_port().await;
    let exporter = exporter(&format!("http://127.0.0.1:{port}"), &[("OTEL_BSP_SCHEDULE_DELAY", "1")]);
    exporter.finish(small_tree());
    until(&exporter, |counts| counts.failed == 1).await;
    exporter.finish(small_tree());
    until(&exporter, |counts| counts.failed == 2).await;
    let said = warnings(port);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("traces are being lost") && said[0].contains("refused"), "{said:?}");
}

#[tokio::test]
async fn a_hung_collector_neither_blocks_nor_fills_memory() {
    let receiver = Receiver::start(Manner::Hang).await;
    let variables = [
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "30"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "6"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
    ];
    let exporter = exporter(&receiver.address(), &variables);
    let start = Instant::now();
    for _ in 0..2_000 {
        exporter.finish(full_tree());
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(exporter.queued() <= 30, "{}", exporter.queued());
    // At most: one batch on the wire, one tree held back, and a full queue.
    assert!(exporter.counts().dropped >= 6_000 - 30 - 6 - 3, "{:?}", exporter.counts());

    let start = Instant::now();
    let drain = exporter.shutdown(Duration::from_millis(300)).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(drain, Drain::Lost { spans: 1..=39 }), "{drain:?}");
    assert_eq!(exporter.counts().lost(), 6_000);
    let said = warnings(receiver.port);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("the queue is full"), "{said:?}");
}

#[tokio::test]
async fn a_hung_collector_ends_at_the_time_limit() {
    let receiver = Receiver::start(Manner::Hang).await;
    let variables = [("OTEL_BSP_SCHEDULE_DELAY", "0"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "100")];
    let exporter = exporter(&receiver.address(), &variables);
    exporter.finish(small_tree());
    until(&exporter, |counts| counts.failed == 1).await;
    assert!(warnings(receiver.port)[0].contains("no answer within 100 ms"));
}

#[tokio::test]
async fn a_slow_collector_gets_what_fits_and_the_rest_is_counted() {
    let receiver = Receiver::start(Manner::Slow(Duration::from_millis(200))).await;
    let variables =
        [("OTEL_BSP_SCHEDULE_DELAY", "0"), ("OTEL_BSP_MAX_QUEUE_SIZE", "12"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "6")];
    let exporter = exporter(&receiver.address(), &variables);
    for _ in 0..100 {
        exporter.finish(full_tree());
    }
    let _drain = exporter.shutdown(DEADLINE).await;
    let counts = exporter.counts();
    assert!(counts.exported > 0 && counts.dropped > 0, "{counts:?}");
    assert_eq!(counts.exported + counts.dropped, 300, "{counts:?}");
    assert_eq!(receiver.spans().len() as u64, counts.exported);
}

#[tokio::test]
async fn a_busy_collector_is_asked_twice_and_its_recovery_is_told() {
    let receiver = Receiver::start(Manner::Status(503)).await;
    let exporter = exporter(&receiver.address(), &[("OTEL_BSP_SCHEDULE_DELAY", "0")]);
    exporter.finish(small_tree());
    until(&exporter, |counts| counts.failed == 1).await;
    assert_eq!(receiver.requests().len(), 2);
    assert!(warnings(receiver.port)[0].contains("the collector answered 503"));
    receiver.change(Manner::Accept);
    for exported in 1..=3 {
        exporter.finish(small_tree());
        until(&exporter, |counts| counts.exported == exported).await;
    }
    let said = warnings(receiver.port);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].contains("exported again") && said[1].contains("lost_spans=1"), "{said:?}");
}

#[tokio::test]
async fn a_refusal_is_not_repeated_and_a_redirect_not_followed() {
    for status in [400, 401, 307] {
        let receiver = Receiver::start(Manner::Status(status)).await;
        let exporter = exporter(&receiver.address(), &[("OTEL_BSP_SCHEDULE_DELAY", "0")]);
        exporter.finish(small_tree());
        until(&exporter, |counts| counts.failed == 1).await;
        assert_eq!(receiver.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn spans_that_the_collector_rejects_are_not_called_exported() {
    let receiver = Receiver::start(Manner::Reject { spans: 2, message: "too old" }).await;
    let exporter = exporter(&receiver.address(), &[("OTEL_BSP_SCHEDULE_DELAY", "0")]);
    exporter.finish(full_tree());
    let counts = until(&exporter, |counts| counts.failed == 2).await;
    assert_eq!(counts.exported, 1);
    assert!(warnings(receiver.port)[0].contains("too old"));
}

#[tokio::test]
async fn sampling_keeps_what_matters() {
    let receiver = Receiver::start(Manner::Accept).await;
    let variables = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let exporter = exporter(&receiver.address(), &variables);
    exporter.finish(small_tree());
    let mut tree = small_tree();
    tree.importance = Importance::Keep;
    exporter.finish(tree);
    assert_eq!(exporter.shutdown(DEADLINE).await, Drain::Complete);
    assert_eq!(exporter.counts(), Counts { exported: 1, sampled_out: 1, ..Counts::default() });
}

#[tokio::test]
async fn the_rest_is_sent_when_the_last_exporter_goes() {
    let receiver = Receiver::start(Manner::Accept).await;
    let exporter = exporter(&receiver.address(), &[]);
    exporter.finish(small_tree());
    drop(exporter);
    let start = Instant::now();
    while receiver.requests().is_empty() {
        assert!(start.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(receiver.spans().len(), 1);
}
