#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use bailiwick_policy::Band;

use super::*;
use crate::grant::{Grant, GrantState, Standing};

fn grant(agent: &str) -> Arc<LiveGrant> {
    let terms = Grant {
        owner: "o".to_owned(),
        purpose: "p".to_owned(),
        ceiling: Band::High,
        environment: "e".to_owned(),
        default: true,
        ..Grant::bare("g".parse().unwrap(), agent.parse().unwrap(), Vec::new(), 0..10_000)
    };
    Arc::new(LiveGrant::new(terms, Standing::fresh(), None))
}

fn begun(grant: &Arc<LiveGrant>, bytes: usize, ttl_ms: Option<u64>) -> Begun {
    let nothing = Digest::of(b"");
    let terms = grant.terms();
    Begun {
        of: Of {
            agent: terms.agent.clone(),
            grant: (terms.id.clone(), terms.revision),
            tool: "x__y".parse().unwrap(),
            tool_digest: nothing,
            connector_fingerprint: nothing,
        },
        call: CallId::new(1, [0; 10]),
        arguments: Bytes::from(vec![b' '; bytes]),
        grant: Arc::clone(grant),
        state: State::Remote(Remote {
            id: "inner".to_owned(),
            needs: BTreeSet::new(),
            asked: [("k".to_owned(), Asking::Page)].into(),
        }),
        ttl_ms,
    }
}

fn open(tasks: &Tasks, begun: Begun, at: u32, now_ms: u64) -> Result<Arc<Task>, TooMany> {
    tasks.open(begun, None, now_ms, u128::from(at).to_le_bytes())
}

#[test]
fn a_handle_lives_as_long_as_its_task_and_its_grant() {
    let (tasks, of) = (Tasks::default(), grant("a"));
    let short = open(&tasks, begun(&of, 1, Some(100)), 1, 1000).unwrap();
    let long = open(&tasks, begun(&of, 1, Some(u64::MAX)), 2, 1000).unwrap();
    let endless = open(&tasks, begun(&of, 1, None), 3, 1000).unwrap();
    assert_eq!((short.handle().len(), short.ttl_ms(), long.ttl_ms(), endless.ttl_ms()), (32, 100, 9000, 9000));
    assert!(tasks.find(short.handle(), 1099).is_some() && tasks.find(short.handle(), 1100).is_none());
    assert!(tasks.find(long.handle(), 9999).is_some() && tasks.find(long.handle(), 10_000).is_none());
    assert!(tasks.find("", 1000).is_none());
    tasks.sweep(1100);
    assert_eq!(tasks.count(), 2);
    of.end(GrantState::Revoked);
    assert!(tasks.find(long.handle(), 1000).is_none());
    tasks.sweep(1000);
    assert_eq!(tasks.count(), 0);
}

#[test]
fn no_agent_fills_them_for_others_and_what_is_over_gives_way() {
    let (tasks, one, other) = (Arc::new(Tasks::default()), grant("a"), grant("b"));
    let all: Vec<_> =
        (0..u32::try_from(OF_EACH).unwrap()).map(|at| open(&tasks, begun(&one, 1, None), at, u64::from(at)).unwrap()).collect();
    let agent = |id: &str| id.parse::<AgentId>().unwrap();
    assert!(open(&tasks, begun(&one, 1, None), 1000, 100).is_err() && tasks.room(&agent("a"), 1, 100).is_none());
    assert!(open(&tasks, begun(&other, 1, None), 1001, 100).is_ok() && tasks.room(&agent("b"), 1, 100).is_some());
    all.get(9).unwrap().is_over();
    all.get(5).unwrap().is_over();
    assert!(open(&tasks, begun(&one, 1, None), 1002, 100).is_ok());
    let is_there = |at: usize| tasks.find(all.get(at).unwrap().handle(), 100).is_some();
    assert!(!is_there(5) && is_there(9), "the oldest that is over gave way");
    let room = tasks.room(&agent("a"), 1, 100).unwrap();
    assert!(!is_there(9) && tasks.room(&agent("a"), 1, 100).is_none());
    assert!(tasks.open(begun(&one, 1, None), Some(&room), 100, [9; 16]).is_ok());
    drop(room);
    assert!(tasks.locked().rooms.is_empty());
}

#[test]
fn what_they_keep_is_bounded_in_bytes() {
    let (tasks, of) = (Arc::new(Tasks::default()), grant("a"));
    assert!(open(&tasks, begun(&of, BYTES_OF_EACH, None), 1, 1).is_ok());
    assert!(open(&tasks, begun(&of, 1, None), 2, 1).is_err());
    assert!(tasks.room(&"b".parse().unwrap(), BYTES_OF_EACH + 1, 1).is_none());
    // What a call came to counts too: it is kept where it fits, and what is over gives way.
    let (of, answer) = (grant("c"), || Refusal::internal("x").into_answer());
    let waiting = |at| {
        let begun = Begun { state: State::Waiting(String::new()), ..begun(&of, BYTES_OF_EACH / 2 - 40, None) };
        open(&tasks, begun, at, 1).unwrap()
    };
    let (first, second) = (waiting(10), waiting(11));
    tasks.end(&first, answer(), 2);
    tasks.end(&second, Refusal::unscreened("s", "y".repeat(200)).into_answer(), 3);
    let ended = |task: &Task| matches!(&*task.state(), State::Ended(_));
    assert!(ended(&first) && ended(&second) && tasks.find(first.handle(), 4).is_none(), "the first gave way");
    assert!(tasks.find(second.handle(), 4).is_some());
}

#[test]
fn a_question_is_answered_once() {
    let (tasks, of) = (Tasks::default(), grant("a"));
    let task = open(&tasks, begun(&of, 1, None), 1, 1).unwrap();
    let (known, both) = (["k".to_owned()], ["k".to_owned(), "z".to_owned()]);
    assert!(!task.claim(both.iter()));
    assert!(task.claim(known.iter()) && !task.claim(known.iter()) && task.claim([].iter()));
}
