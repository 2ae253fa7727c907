//! Judging a call: by the same gates as the call itself, and without a trace of it.

use crate::world::{Asking, Bench};

/// What the first gates may ask of the outside. Anything else would write, ask, lend, start or count.
const READS: [&str; 6] = ["now", "random", "identify", "by_id", "grants_of", "world"];

#[tokio::test]
async fn what_is_judged_is_what_happens_and_leaves_nothing() {
    let bench = Bench::new();
    let mut effects = Vec::new();
    for (tool, arguments) in [
        ("tickets__close", "{}"),
        ("tickets__nothing", "{}"),
        ("tickets__banned", "{}"),
        ("tickets__overflow", r#"{"amount":501}"#),
        ("tickets__overflow", r#"{"amount":"x"}"#),
        ("tickets__refund", r#"{"amount_cents":5}"#),
    ] {
        let received = bench.received(Some((tool, arguments)), Asking::plain());
        let (standing, points) = (bench.grant().standing(), bench.fakes.points().len());
        let judged = bench.gateway().judge(&received).await;
        let asked = bench.fakes.points().split_off(points);
        assert!(!asked.is_empty() && asked.iter().all(|point| READS.contains(point)), "{tool}: {asked:?}");
        assert_eq!(bench.grant().standing(), standing, "{tool}");
        let decision = bench.call(tool, arguments).await.decision();
        let effect = match &judged.ended {
            Ok(needs) if needs.is_empty() => "allow",
            Ok(_) => "step_up",
            Err(refusal) => {
                assert_eq!((&decision["gate"], &decision["reason"]), (&judged.gate.into(), &refusal.reason.into()), "{tool}");
                "deny"
            }
        };
        assert_eq!(decision["effect"], effect, "{tool}");
        assert_eq!(
            decision.get("rules").cloned().unwrap_or_else(|| serde_json::json!([])),
            serde_json::json!(judged.rules),
            "{tool}"
        );
        effects.push(effect);
    }
    assert_eq!(effects, ["allow", "deny", "deny", "deny", "deny", "step_up"]);
}

#[tokio::test]
async fn a_list_is_no_call() {
    let bench = Bench::new();
    let judged = bench.gateway().judge(&bench.received(None, Asking::plain())).await;
    assert_eq!(judged.ended.unwrap_err().reason, "internal");
    assert!(bench.fakes.points().iter().all(|point| READS.contains(point)));
}
