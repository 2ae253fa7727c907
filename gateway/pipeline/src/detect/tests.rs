#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panicking")]
//! What is kept has a bound, and what is found is what plain code finds.

use std::mem::size_of;

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{
    Act, Became, Detections, Entry, History, KEPT, Rule, Rules, Sort, Unreadable, amount,
    ring::{Ring, found},
    sums::Window,
};

const START_MS: u64 = 1_800_000_000_000;

fn entry(at_ms: u64, call: u64, became: Became) -> Entry {
    Entry { at_ms, call, place: 0, connector: 0, grant: 1, rules: 1, became }
}

fn rule(sort: Sort, window_ms: u64) -> Rule {
    Rule::new("r", sort, Act::Observe, window_ms)
}

fn rules(list: Vec<Rule>) -> Rules {
    Rules::after(&Rules::default(), list)
}

#[test]
fn a_task_is_kept_in_six_kilobytes() {
    let kept = KEPT * size_of::<Entry>() + size_of::<History>();
    assert!(kept <= 6 * 1024, "{kept} bytes");
    assert_eq!(size_of::<Entry>(), 40);
    assert_eq!(size_of::<Window>(), 1064);
}

#[test]
fn a_ring_keeps_the_newest_and_no_more() {
    let mut ring = Ring::default();
    for number in 0..1000 {
        assert_eq!(ring.push(entry(START_MS + number, number, Became::Went)), number);
        assert!(ring.len() <= KEPT);
    }
    let kept: Vec<u64> = ring.since(0).map(|entry| entry.call).collect();
    assert_eq!(kept, (1000 - KEPT as u64..1000).rev().collect::<Vec<_>>());
    assert_eq!(ring.since(START_MS + 997).count(), 3);
    ring.became(999, Became::Refused);
    ring.became(999 - KEPT as u64, Became::Nothing);
    let became: Vec<Became> = ring.since(0).map(|entry| entry.became).collect();
    assert_eq!(became[0], Became::Refused);
    assert!(became[1..].iter().all(|became| *became == Became::Went), "one that is gone is not mistaken for another");
}

/// A call as a test writes it: how long after the one before, which, where to, of which connector, under which grant, what became of it.
type Written = (u64, u64, u64, u32, u32, u8);

fn history() -> impl Strategy<Value = Vec<Written>> {
    vec((0_u64..4000, 1_u64..4, 0_u64..4, 1_u32..4, 1_u32..4, 0_u8..8), 1..40)
}

fn entries(written: &[Written]) -> Vec<Entry> {
    let mut at_ms = START_MS;
    let became = |word| match word {
        0 => Became::Refused,
        1 => Became::Nothing,
        _ => Became::Went,
    };
    let one = |(after, call, place, connector, grant, word): &Written| {
        at_ms += after;
        Entry { at_ms, call: *call, place: *place, connector: *connector, grant: *grant, rules: 1, became: became(*word) }
    };
    written.iter().map(one).collect()
}

/// What plain code says of the last of these calls, by looking at all of them.
fn plainly(rule: &Rule, all: &[Entry]) -> bool {
    let (call, before) = all.split_last().unwrap();
    let in_time: Vec<&Entry> = before.iter().filter(|entry| entry.at_ms + rule.window_ms >= call.at_ms).collect();
    let meant: Vec<&Entry> = in_time.iter().copied().filter(|entry| entry.became != Became::Nothing).chain([call]).collect();
    let many = |values: Vec<u64>, most: u32| {
        let different: std::collections::BTreeSet<u64> = values.into_iter().filter(|value| *value != 0).collect();
        different.len() >= most as usize
    };
    match &rule.sort {
        Sort::Repeat { count } => meant.iter().filter(|entry| entry.call == call.call).count() >= *count as usize,
        Sort::Cycle { period, turns } => (2..=*period as usize).any(|period| {
            let length = period * *turns as usize;
            if meant.len() < length {
                return false;
            }
            let last: Vec<u64> = meant[meant.len() - length..].iter().map(|entry| entry.call).collect();
            let round = &last[..period];
            last.chunks(period).all(|other| other == round) && round.iter().any(|call| *call != round[0])
        }),
        Sort::Probe { refused } => {
            let others = in_time.iter().filter(|entry| entry.became == Became::Refused && entry.call != call.call);
            many(others.map(|entry| entry.call).collect(), *refused)
        }
        Sort::FanOut { connectors, destinations, grants } => {
            let reached = |pick: fn(&Entry) -> u64, most: &Option<u32>| {
                most.is_some_and(|most| many(meant.iter().map(|entry| pick(entry)).collect(), most))
            };
            reached(|entry| entry.connector.into(), connectors)
                || reached(|entry| entry.place, destinations)
                || reached(|entry| entry.grant.into(), grants)
        }
        Sort::Sum { .. } | Sort::ReadThenSend { .. } => false,
    }
}

fn sort() -> impl Strategy<Value = Sort> {
    let most = || prop::option::of(2_u32..4);
    prop_oneof![
        (2_u32..6).prop_map(|count| Sort::Repeat { count }),
        (2_u32..5, 2_u32..4).prop_map(|(period, turns)| Sort::Cycle { period, turns }),
        (1_u32..4).prop_map(|refused| Sort::Probe { refused }),
        (most(), most(), most()).prop_map(|(connectors, destinations, grants)| Sort::FanOut { connectors, destinations, grants }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// At every call of a history, as it comes.
    #[test]
    fn what_is_found_is_what_plain_code_finds(written in history(), sort in sort(), window_ms in 1000_u64..60_000) {
        let (rule, all) = (rule(sort, window_ms), entries(&written));
        let mut ring = Ring::default();
        for (at, call) in all.iter().enumerate() {
            prop_assert_eq!(found(&rule, 1, &ring, call).is_some(), plainly(&rule, &all[..=at]), "{:?} at {}", rule, at);
            ring.push(*call);
        }
    }

    /// Never too little; too much by no more than what came in the length of a part before.
    #[test]
    fn a_window_is_never_short(
        came in vec((0_u64..5000, 0_u64..1000), 1..60),
        window_ms in 1_u64..100_000,
        resized_ms in 1_u64..100_000,
    ) {
        let (mut window, mut at_ms, mut all) = (Window::new(window_ms), START_MS, Vec::new());
        for (after, amount) in came {
            at_ms += after;
            window.add(at_ms, amount);
            all.push((at_ms, amount));
            let exactly = |length_ms: u64| -> u64 {
                all.iter().filter(|(at, _)| *at + length_ms >= at_ms).map(|(_, amount)| amount).sum()
            };
            let sum = window.sum(at_ms);
            prop_assert!(sum >= exactly(window_ms), "{} of {}", sum, exactly(window_ms));
            prop_assert!(sum <= exactly(65 * window_ms.div_ceil(64)), "{} too much", sum);
        }
        let mut sums = super::Sums::default();
        let name = "s".into();
        for (at, amount) in &all {
            sums.add(&name, window_ms, *at, *amount);
        }
        let (shorter, now) = (resized_ms.min(window_ms), at_ms);
        let exactly: u64 = all.iter().filter(|(at, _)| *at + shorter >= now).map(|(_, amount)| amount).sum();
        prop_assert!(sums.sum(&name, shorter, now) >= exactly, "another length forgets nothing of its window");
    }
}

#[test]
fn the_same_call_is_the_same_however_it_is_written() {
    let detections = Detections::default();
    let key = |tool, text: &str| detections.call_key(tool, &serde_json::from_str(text).unwrap());
    let one = key("s__a", r#"{"a":1,"b":[1,{"c":null,"d":"x"}]}"#);
    assert_eq!(one, key("s__a", r#"{ "b" : [1, {"d":"\u0078", "c":null}], "a":1 }"#));
    for same in ["1.0", "1e0", "10e-1", "1.000"] {
        assert_eq!(one, key("s__a", &format!(r#"{{"a":{same},"b":[{same},{{"c":null,"d":"x"}}]}}"#)), "{same}");
    }
    for other in
        [r#"{"a":1,"b":[{"c":null,"d":"x"},1]}"#, r#"{"a":"1","b":[1,{"c":null,"d":"x"}]}"#, r#"{"a":1}"#, "{}", "[]", "null"]
    {
        assert_ne!(one, key("s__a", other), "{other}");
    }
    assert_ne!(one, key("s__b", r#"{"a":1,"b":[1,{"c":null,"d":"x"}]}"#));
    assert_ne!(one, Detections::default().call_key("s__a", &json!({"a": 1, "b": [1, {"c": null, "d": "x"}]})), "keyed");
}

#[test]
fn only_a_whole_number_from_nought_on_is_an_amount() {
    let read = |text: &str| amount(&serde_json::from_str::<Value>(text).unwrap(), "/to/amount");
    assert_eq!(read(r#"{"to":{"amount":4900}}"#), Some(4900));
    assert_eq!(read(r#"{"to":{"amount":0}}"#), Some(0));
    for text in ["4900.0", "4.9e3", "-1", "-0", "\"4900\"", "null", "true", "[4900]", "18446744073709551616", "1e400"] {
        assert_eq!(read(&format!(r#"{{"to":{{"amount":{text}}}}}"#)), None, "{text}");
    }
    assert_eq!(read(r#"{"amount":4900}"#), None);
}

/// One that goes on is one finding; it is new again once it paused for its window.
#[test]
fn a_loop_is_found_on_each_call_and_is_new_once() {
    let (history, rules) = (History::default(), rules(vec![rule(Sort::Repeat { count: 3 }, 1000)]));
    let look = |at_ms: u64| history.look(&rules, entry(START_MS + at_ms, 7, Became::Went)).unwrap();
    let found = |at_ms| look(at_ms).found;
    assert_eq!((found(0), found(10)), (vec![], vec![]));
    assert_eq!(found(20), [(0, 3, true)]);
    for step in 3..500 {
        assert_eq!(found(step * 10), [(0, step.min(100) + 1, false)], "{step}");
    }
    assert_eq!((found(8000), found(8010)), (vec![], vec![]));
    assert_eq!(found(8020), [(0, 3, true)]);
}

#[test]
fn the_last_minute_is_counted_by_the_second() {
    let (history, rules) = (History::default(), Rules::default());
    let before = |at_ms: u64| history.look(&rules, entry(START_MS + at_ms, 7, Became::Refused)).unwrap();
    assert_eq!((0..300).map(|_| before(0).last_minute).max(), Some(299), "more than are kept");
    assert_eq!(before(59_000).last_minute, 300);
    assert_eq!(before(60_000).last_minute, 1);
    assert_eq!(before(10_000_000).last_minute, 0);
    assert_eq!(before(10_000_000).refused, 303);
}

#[test]
fn what_broke_while_it_changed_is_not_read() {
    let (history, rules) = (History::default(), Rules::default());
    std::thread::scope(|scope| {
        let broken = scope.spawn(|| history.while_it_changes(|| panic!("in the middle")));
        assert!(broken.join().is_err());
    });
    assert_eq!(history.look(&rules, entry(START_MS, 1, Became::Went)).unwrap_err(), Unreadable);
}

#[test]
fn other_rules_begin_anew_and_a_call_of_the_old_ones_finds_nothing() {
    let detections = Detections::default();
    detections.set(vec![rule(Sort::Repeat { count: 2 }, 1000)]);
    let (history, old) = (History::default(), detections.rules());
    let look = |rules: &Rules| history.look(rules, entry(START_MS, 7, Became::Went)).unwrap();
    assert!(look(&old).found.is_empty());
    detections.set(vec![rule(Sort::Repeat { count: 2 }, 1000)]);
    assert_eq!(look(&detections.rules()).found.len(), 1, "the same rules are no others");
    detections.set(vec![rule(Sort::Repeat { count: 2 }, 2000)]);
    assert!(look(&detections.rules()).found.is_empty());
    assert!(look(&old).found.is_empty());
    assert_eq!(look(&detections.rules()).found, [(0, 2, true)], "what came by the old rules does not count for the new");
}
