#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::atomic::AtomicBool;

use bailiwick_policy::Band;

use super::*;
use crate::{
    grant::{Grant, Standing},
    principal::{Agent, AuthMethod},
};

fn principal(agent: &str, instance: Option<&str>) -> Principal {
    let agent = Agent { id: agent.parse().unwrap(), owner: "o".to_owned(), ceiling: Band::High, disabled: false };
    Principal { agent: Arc::new(agent), instance: instance.map(str::to_owned), method: AuthMethod::AgentToken, grant: None }
}

fn grant(agent: &str, parent: Option<&Arc<LiveGrant>>) -> Arc<LiveGrant> {
    let terms = Grant {
        owner: "o".to_owned(),
        purpose: "p".to_owned(),
        ceiling: Band::High,
        environment: "e".to_owned(),
        ..Grant::bare("g".parse().unwrap(), agent.parse().unwrap(), Vec::new(), 0..u64::MAX)
    };
    Arc::new(LiveGrant::new(terms, Standing::fresh(), parent.cloned()))
}

fn halt(text: &str) -> Halt {
    text.parse().unwrap()
}

#[test]
fn a_halt_is_written_and_read_as_the_same() {
    for text in [
        "everything",
        "agent:a",
        "instance:a/pod-1",
        "instance:a/spiffe://x/y?z",
        "connector:c",
        "tool:c__t",
        "tool:c/prompt_get",
    ] {
        assert_eq!(halt(text).to_string(), text);
    }
    for text in
        ["", "all", "agent:", "agent:A!", "instance:a", "instance:a/", "instance:/x", "instance:a/\u{202e}", "tool:c", "grant:g"]
    {
        assert!(text.parse::<Halt>().is_err(), "{text}");
    }
}

#[test]
fn a_halt_stops_what_it_names_and_nothing_else() {
    let (own, others) = (grant("a", None), grant("b", None));
    let child = grant("b", Some(&own));
    let (pod, other_pod, b) = (principal("a", Some("1")), principal("a", Some("2")), principal("b", None));
    let (tool, sibling, foreign) = ("c__t".parse().unwrap(), "c__u".parse().unwrap(), "d__t".parse().unwrap());
    let halts = Halts::default();
    let stops = |principal: &Principal, grant: &LiveGrant, tool: &QualifiedName| {
        halts.stopping(&Subject { principal: Some(principal), grant: Some(grant), tool: Some(tool) }).is_some()
    };
    let all = |halts: &dyn Fn(&Principal, &LiveGrant, &QualifiedName) -> bool| {
        [
            halts(&pod, &own, &tool),
            halts(&other_pod, &own, &tool),
            halts(&b, &child, &tool),
            halts(&b, &others, &tool),
            halts(&b, &others, &sibling),
            halts(&b, &others, &foreign),
        ]
    };
    assert_eq!(all(&stops), [false; 6]);
    for (text, expected) in [
        ("everything", [true; 6]),
        ("agent:a", [true, true, true, false, false, false]),
        ("instance:a/1", [true, false, false, false, false, false]),
        ("connector:c", [true, true, true, true, true, false]),
        ("tool:c__t", [true, true, true, true, false, false]),
    ] {
        assert!(halts.put(&halt(text)) && !halts.put(&halt(text)), "{text}");
        assert_eq!(all(&stops), expected, "{text}");
        assert!(halts.lift(&halt(text)) && !halts.lift(&halt(text)), "{text}");
        assert_eq!(all(&stops), [false; 6], "{text}");
    }
}

#[test]
fn what_is_hidden_is_told_apart_and_nothing_is_but_tools() {
    let halts = Halts::default();
    let (tool, other) = ("c__t".parse().unwrap(), "d__t".parse().unwrap());
    assert_eq!(halts.hidden(), 0);
    halts.put(&halt("agent:a"));
    assert_eq!((halts.hidden(), halts.hides(&tool)), (0, false));
    halts.put(&halt("tool:c__t"));
    let first = halts.hidden();
    assert!(first > 0 && halts.hides(&tool) && !halts.hides(&other));
    halts.put(&halt("agent:b"));
    assert_eq!(halts.hidden(), first);
    halts.put(&halt("connector:d"));
    assert!(halts.hidden() > first && halts.hides(&other));
    let both = halts.hidden();
    halts.lift(&halt("connector:d"));
    assert!(halts.hidden() > both, "what was before is not taken for what is now");
    halts.lift(&halt("tool:c__t"));
    assert!(halts.hidden() > both && !halts.hides(&tool) && !halts.hides(&other));
}

#[tokio::test]
async fn a_halt_wakes_its_own_flights_and_waits_for_their_writes_alone() {
    let halts = Arc::new(Halts::default());
    let (a, b) = (grant("a", None), grant("b", None));
    let (flight, writing) = halts.enter(&principal("a", None), &a, None).unwrap();
    let (neighbour, neighbours) = halts.enter(&principal("b", None), &b, None).unwrap();
    assert!(halts.drained(&halt("connector:c"), Duration::ZERO).await, "nothing of it flies");
    assert!(!halts.drained(&halt("agent:a"), Duration::from_millis(10)).await, "it is being written");
    let waited = {
        let halts = Arc::clone(&halts);
        tokio::spawn(async move { halts.drained(&halt("agent:a"), Duration::from_mins(1)).await })
    };
    let (struck, _) = tokio::join!(flight.struck(), async { halts.put(&halt("agent:a")) });
    assert_eq!((struck, neighbour.halt()), (halt("agent:a"), None));
    assert!(halts.enter(&principal("a", None), &a, None).is_err() && halts.enter(&principal("b", None), &b, None).is_ok());
    assert!(!waited.is_finished());
    drop(writing);
    assert!(waited.await.unwrap());
    assert_eq!(halts.flights(), 2);
    drop((flight, neighbour, neighbours));
    assert_eq!(halts.flights(), 0);
}

#[tokio::test]
async fn who_waits_for_something_else_hears_of_it_too() {
    let halts = Arc::new(Halts::default());
    let subject = principal("a", None);
    let waiting = async { halts.reached(&Subject { principal: Some(&subject), ..Subject::default() }).await };
    let (halt_that_came, ()) = tokio::join!(waiting, async {
        halts.put(&halt("agent:b"));
        tokio::task::yield_now().await;
        halts.put(&halt("everything"));
    });
    assert_eq!(halt_that_came, Halt::Everything);
}

/// Whoever is let out is waited for, on however many threads.
#[test]
fn nobody_slips_out_beside_a_halt() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for _ in 0..200 {
        let halts = Arc::new(Halts::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let slipped: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let (halts, is_over) = (Arc::clone(&halts), Arc::clone(&is_over));
                    scope.spawn(move || {
                        let (caller, grant) = (principal("a", None), grant("a", None));
                        let mut late = 0;
                        for _ in 0..100 {
                            let Ok((_flight, writing)) = halts.enter(&caller, &grant, None) else { continue };
                            // The write.
                            late += usize::from(is_over.load(Ordering::SeqCst));
                            drop(writing);
                        }
                        late
                    })
                })
                .collect();
            halts.put(&Halt::Everything);
            assert!(runtime.block_on(halts.drained(&Halt::Everything, Duration::from_mins(1))));
            is_over.store(true, Ordering::SeqCst);
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(slipped, 0);
    }
}
