//! Judging a call: by the same gates as the call itself, and without a trace of it.

use bailiwick_pipeline::detect::{Act, Rule, Sort};

use crate::world::{ALL, Asking, Bench, terms};

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

/// What stands out is said of a call that nobody makes, and asking counts for nothing.
#[tokio::test]
async fn detections_and_budgets_are_judged_and_not_counted() {
    let bench = Bench::new();
    bench.detections.set(vec![Rule::new("loop", Sort::Repeat { count: 3 }, Act::Deny, 60_000)]);
    let judge = async |arguments: &str| {
        let received = bench.received(Some(("tickets__get", arguments)), Asking::plain());
        bench.gateway().judge(&received).await.ended.map(|needs| needs.len()).map_err(|refusal| refusal.reason)
    };
    for _ in 0..10 {
        assert_eq!(judge("{}").await, Ok(0));
    }
    for _ in 0..2 {
        bench.call("tickets__get", "{}").await.ran();
    }
    let points = bench.fakes.all_records();
    assert_eq!((judge("{}").await, judge("{}").await), (Err("detected"), Err("detected")));
    assert_eq!(judge(r#"{"id":"7"}"#).await, Ok(0));
    assert_eq!(bench.fakes.all_records(), points, "nothing is on record");
    bench.detections.set(vec![Rule::new("loop", Sort::Repeat { count: 2 }, Act::StepUp, 60_000)]);
    bench.call("tickets__get", "{}").await.ran();
    assert_eq!(judge("{}").await, Ok(1), "a person would be asked");

    let mut few = terms("g", &ALL);
    few.budget.calls = Some(1);
    let bench = Bench::with([few]);
    let judge = async || bench.gateway().judge(&bench.received(Some(("tickets__get", "{}")), Asking::plain())).await.ended;
    assert!(judge().await.is_ok());
    bench.call("tickets__get", "{}").await.ran();
    assert_eq!(judge().await.unwrap_err().reason, "budget_exhausted");
}

#[tokio::test]
async fn a_list_is_no_call() {
    let bench = Bench::new();
    let judged = bench.gateway().judge(&bench.received(None, Asking::plain())).await;
    assert_eq!(judged.ended.unwrap_err().reason, "internal");
    assert!(bench.fakes.points().iter().all(|point| READS.contains(point)));
}
