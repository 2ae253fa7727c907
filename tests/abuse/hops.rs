//! Tasks that are handed on: ended above, in circles, by the wrong hands, with tokens that were changed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    harness::{
        Agent, oauth,
        oauth::{fault, hand_on, handed_on, post, task},
    },
    whole::hops::{crew, lead},
};

/// Parent and grandparent end while the child is alive: it is refused on its next call.
#[tokio::test(flavor = "multi_thread")]
async fn a75_what_ends_above_ends_below() {
    let (gateway, script) = crew("");
    let [scout, clerk] = ["scout", "clerk"].map(|id| gateway.agent(id));
    for end in ["grants revoke", "grants complete", "time"] {
        let before = script.calls().len();
        let root = match end {
            "time" => gateway.cli.ok(&[
                "grants",
                "create",
                "--agent",
                "lead",
                "--purpose",
                "short",
                "--ttl",
                "6s",
                "--tools",
                "s__echo",
                "--delegation-depth",
                "2",
            ]),
            _ => lead(&gateway, &["--delegation-depth", "2", "--id", &end.replace(' ', "-")]),
        };
        let (child, _) = handed_on(&gateway, &root, &scout, &task(&["s__echo"], &json!({"delegation_depth": 1}))).await;
        let (grandchild, _) = handed_on(&gateway, child.token(), &clerk, &task(&["s__echo"], &json!({}))).await;
        assert!(!grandchild.call("s__echo", &json!({})).await.is_tool_error(), "{end}");
        if let Some((noun, verb)) = end.split_once(' ') {
            gateway.cli.ok(&[noun, verb, &end.replace(' ', "-")]);
        } else {
            let until = Instant::now() + Duration::from_mins(1);
            while grandchild.list().await.status == 200 {
                assert!(Instant::now() < until, "it outlives what it was handed on from");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        for agent in [&child, &grandchild] {
            assert_eq!(agent.call("s__echo", &json!({})).await.status, 401, "{end}");
        }
        assert_eq!(script.calls().len(), before + 1, "{end}");
    }
}

/// A to B to A, deeper than there is, and more than one may hand on.
#[tokio::test(flavor = "multi_thread")]
async fn a76_hops_go_in_no_circle_and_have_an_end() {
    let (gateway, _script) = crew("");
    let root = lead(&gateway, &["--delegation-depth", "2"]);
    let [lead_again, scout, clerk, stranger] = ["lead", "scout", "clerk", "stranger"].map(|id| gateway.agent(id));
    let wanted = |depth: u8| task(&["s__echo"], &json!({"delegation_depth": depth}));
    let (child, _) = handed_on(&gateway, &root, &scout, &wanted(1)).await;
    for (subject, actor) in [(root.as_str(), &lead_again), (child.token(), &lead_again), (child.token(), &scout)] {
        let reply = hand_on(&gateway, subject, actor, &wanted(0)).await;
        assert_eq!(fault(&reply), (400, "invalid_request".to_owned()), "{}", reply.text);
    }
    let (grandchild, _) = handed_on(&gateway, child.token(), &clerk, &wanted(0)).await;
    let too_deep = hand_on(&gateway, grandchild.token(), &stranger, &wanted(0)).await;
    assert_eq!(fault(&too_deep), (400, "invalid_authorization_details".to_owned()));
    let deeper = hand_on(&gateway, &root, &stranger, &wanted(200)).await;
    assert_eq!(fault(&deeper), (400, "invalid_authorization_details".to_owned()));
    let mut made = 1;
    let refused = loop {
        let reply = hand_on(&gateway, &root, &stranger, &wanted(0)).await;
        if reply.status != 200 {
            break reply;
        }
        made += 1;
        assert!(made <= 100, "without end");
    };
    assert_eq!((made, fault(&refused)), (100, (400, "invalid_grant".to_owned())));
}

/// An agent with little asks one with much: what the one lends is what it hands on, on record, and never more than it has.
#[tokio::test(flavor = "multi_thread")]
async fn a77_nobodys_rights_are_lent_without_a_hop() {
    let (gateway, script) = crew("");
    let root = lead(&gateway, &["--delegation-depth", "1"]);
    let scout = gateway.agent("scout");
    let (narrow, _) = handed_on(&gateway, &root, &scout, &task(&["s__echo"], &json!({}))).await;
    assert_eq!(narrow.call("s__echo_note", &json!({})).await.error_code(), -32602);
    // Beside its own identity it can name neither the grant above nor hand on for it.
    let grants: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["grants", "list", "--json"])).unwrap();
    let root_id = grants.iter().find(|grant| grant["agent"] == "lead").unwrap()["id"].as_str().unwrap().to_owned();
    for agent in [&scout, &narrow] {
        assert_eq!(agent.under(&root_id).call("s__echo_note", &json!({})).await.error_code(), 1002);
    }
    let details = json!([task(&["s__echo_note"], &json!({}))]).to_string();
    let clerk = gateway.agent("clerk");
    for subject in [scout.token(), narrow.token()] {
        let body = oauth::form(&oauth::exchange(subject, clerk.token(), &details));
        let reply = post(&gateway, "/oauth/token", &body, &[("bailiwick-grant", &root_id)]).await;
        assert_eq!(fault(&reply), (400, "invalid_grant".to_owned()), "{}", reply.text);
    }
    assert!(script.calls().is_empty());
    let hops: Vec<Value> = gateway.records("decisions").into_iter().filter(|record| record["event"] == "delegation").collect();
    assert_eq!(hops.len(), 1, "the one that there was");
}

/// A grant's token in other hands, after its task, and at another gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a78_a_stolen_token_is_good_for_nobody_else() {
    let (gateway, script) = crew("");
    let root = lead(&gateway, &["--delegation-depth", "1"]);
    let [scout, clerk] = ["scout", "clerk"].map(|id| gateway.agent(id));
    let (child, _) = handed_on(&gateway, &root, &scout, &task(&["s__echo"], &json!({}))).await;
    // Shown beside another identity it is nothing: neither to hand on, nor to end.
    let details = json!([task(&["s__echo"], &json!({}))]).to_string();
    let body = oauth::form(&oauth::exchange(&root, clerk.token(), &details));
    for thief in [clerk.token(), scout.token(), child.token()] {
        let reply = post(&gateway, "/oauth/token", &body, &[("authorization", &format!("Bearer {thief}"))]).await;
        assert_eq!(fault(&reply), (400, "invalid_request".to_owned()));
    }
    // It proves nobody's identity: a task is not handed on to whoever has one.
    assert_eq!(hand_on(&gateway, &root, &child, &task(&["s__echo"], &json!({}))).await.status, 400);
    let (elsewhere, _) = crew("");
    assert_eq!(Agent::new(&elsewhere.url, child.token()).list().await.status, 401);
    assert_eq!(hand_on(&elsewhere, &root, &elsewhere.agent("clerk"), &task(&["s__echo"], &json!({}))).await.status, 400);
    assert_eq!(oauth::revoke(&gateway, child.token(), &[]).await.status, 200);
    assert_eq!(child.call("s__echo", &json!({})).await.status, 401);
    assert!(script.calls().is_empty());
}

/// Every bit of a token flipped, every length of it, and its parts in another order.
#[tokio::test(flavor = "multi_thread")]
async fn a79_a_changed_token_is_no_token() {
    let (mut gateway, script) = crew("");
    gateway.reconfigure(|text| text.replace("[server]\n", "[server]\nmax_rate_per_agent = 0\n"));
    gateway.cli.ok(&["reload"]);
    let root = lead(&gateway, &["--delegation-depth", "1"]);
    let scout = gateway.agent("scout");
    let mut others: Vec<String> = Vec::new();
    for at in 0..root.len() {
        others.extend(root.get(..at).map(str::to_owned));
        for bit in 0..8 {
            let mut bytes = root.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            others.extend(String::from_utf8(bytes).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic())));
        }
    }
    let parts: Vec<&str> = root.split('_').collect();
    others.extend([
        format!("{root}A"),
        format!("{root}="),
        parts.iter().rev().copied().collect::<Vec<_>>().join("_"),
        root.to_uppercase(),
    ]);
    others.retain(|other| !other.is_empty());
    assert!(others.len() > 400, "{}", others.len());
    for other in &others {
        assert_eq!(Agent::new(&gateway.url, other).list().await.status, 401, "{other}");
    }
    // The same tokens where grants are handed on and given back: nothing is made, and nothing ends.
    for other in others.iter().step_by(7) {
        let reply = hand_on(&gateway, other, &scout, &task(&["s__echo"], &json!({}))).await;
        assert_eq!(fault(&reply), (400, "invalid_request".to_owned()), "{other}");
        assert_eq!(oauth::revoke(&gateway, other, &[]).await.status, 200);
    }
    assert!(!Agent::new(&gateway.url, &root).call("s__echo", &json!({})).await.is_tool_error());
    assert_eq!(script.calls().len(), 1);
}
