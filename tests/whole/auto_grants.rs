//! Grants that agents get by themselves: of reads of band `low`, where a policy says so, and of nothing else.

use serde_json::{Value, json};

use crate::harness::{
    Agent, Gateway, Reply, Script, Setup,
    oauth::{ACCESS_TOKEN, EXCHANGE, fault, form, post, task},
    tool,
};

const PERMIT: &str = "@id(\"reads-by-itself\") permit (principal in Bailiwick::Agent::\"a\", action == Bailiwick::Action::\"auto_grant\", resource);";

/// Agents `a` and `b`, and no grants.
fn house(policy: &str, more: &str) -> (Gateway, Script) {
    let setup = Setup::new();
    std::fs::write(setup.folder().join("own.cedar"), policy).unwrap();
    let tools = ["look", "peek", "note", "risky"].map(|name| tool(name, &["x"]));
    let script = Script::new(setup.folder(), "s", &tools);
    let classes = "tools.look = { kind = \"read\", band = \"low\" }\ntools.peek = { kind = \"read\", band = \"low\" }\n\
                   tools.note = { kind = \"write\", band = \"low\" }\ntools.risky = { kind = \"read\", band = \"medium\" }";
    let far = Script::new(setup.folder(), "far", &[tool("look", &["x"])]);
    let gateway = setup
        .with("[policy]\nfiles = [\"own.cedar\"]")
        .with(more)
        .agent("a")
        .agent("b")
        .connector("s", &script, classes)
        .connector("far", &far, "environment = \"production\"\ntools.look = { kind = \"read\", band = \"low\" }")
        .start();
    (gateway, script)
}

async fn want(gateway: &Gateway, token: &str, task: &Value) -> Reply {
    let details = json!([task]).to_string();
    let parameters = [
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
        ("authorization_details", details.as_str()),
    ];
    post(gateway, "/oauth/token", &form(&parameters), &[]).await
}

fn decisions(gateway: &Gateway) -> Vec<Value> {
    gateway.records("decisions").into_iter().filter(|record| record["method"] == "oauth/token").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_low_reads_by_itself_where_a_policy_says_so() {
    let (gateway, script) = house(PERMIT, "");
    let a = gateway.agent("a");
    let reply = want(&gateway, a.token(), &task(&["s__look"], &json!({"expires_in": 600}))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    assert!(answer["expires_in"].as_u64().is_some_and(|left| (500..=600).contains(&left)), "{answer}");
    let granted = &answer["authorization_details"][0];
    assert_eq!((&granted["kinds"], &granted["ceiling"]), (&json!(["read"]), &json!("low")));
    let token = answer["access_token"].as_str().unwrap();
    let own = Agent::new(&gateway.url, token);
    assert_eq!(own.tools().await, ["s__look"]);
    own.call("s__look", &json!({"x": "1"})).await.result();
    assert_eq!(own.call("s__note", &json!({"x": "1"})).await.error_code(), -32602);
    assert_eq!(script.calls().len(), 1);
    // On record before it was made, in one line.
    let [decided] = decisions(&gateway).try_into().unwrap();
    assert_eq!(
        (&decided["event"], &decided["effect"], &decided["grant"]),
        (&json!("auto_grant"), &json!("allow"), &answer["grant_id"])
    );
    assert_eq!(decided["rules"], json!(["reads-by-itself"]));
    let made: Vec<Value> = gateway.records("admin").into_iter().filter(|record| record["about"] == answer["grant_id"]).collect();
    assert!(made.iter().all(|record| record["by"] == "agent:a") && made.len() == 2, "{made:?}");
    assert!(decided["time"].as_str() <= made[0]["time"].as_str());
    assert!(!gateway.everything_written().windows(token.len()).any(|window| window == token.as_bytes()));
    // Without a word of how long, as long as is configured.
    let usual = want(&gateway, a.token(), &task(&["s__peek"], &json!({}))).await.json();
    assert!(usual["expires_in"].as_u64().is_some_and(|left| (1700..=1800).contains(&left)), "{usual}");
    gateway.cli.ok(&["audit", "verify"]);
}

/// Whatever is wrong with it, an agent hears the same; only what its own words say is told.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_to_be_had() {
    let (gateway, _script) = house(PERMIT, "");
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    let mut refused = Vec::new();
    for tools in [&["s__note"][..], &["s__risky"], &["s__absent"], &["nobody__nothing"], &["far__look"], &["s__look", "s__note"]]
    {
        let reply = want(&gateway, a.token(), &task(tools, &json!({}))).await;
        assert_eq!(fault(&reply), (400, "invalid_grant".to_owned()), "{tools:?}: {}", reply.text);
        refused.push(reply.text);
    }
    // Another agent, of which the policy says nothing.
    refused.push(want(&gateway, b.token(), &task(&["s__look"], &json!({}))).await.text);
    assert!(refused.iter().all(|text| *text == refused[0]), "{refused:?}");
    for (tools, more) in [
        (&["s__*"][..], json!({})),
        (&["s/resource_read"], json!({})),
        (&["s__look"], json!({"expires_in": 1801})),
        (&["s__look"], json!({"delegation_depth": 1})),
        (&["s__look"], json!({"ceiling": "high"})),
        (&["s__look"], json!({"kinds": ["write"]})),
        (&["s__look"], json!({"max_rate": 0})),
        (&["s__look"], json!({"purpose": ""})),
        (&["s__look"], json!({"may_request": true})),
        (&["s__look"], json!({"may_complete": true})),
    ] {
        let reply = want(&gateway, a.token(), &task(tools, &more)).await;
        assert_eq!(fault(&reply), (400, "invalid_authorization_details".to_owned()), "{tools:?} {more}: {}", reply.text);
    }
    // What is wrong with its words is said of them alone: in the same words of what there is and of what there is not.
    for more in [
        json!({"destinations": ["no domain"]}),
        json!({"environment": ""}),
        json!({"ticket": "two\nlines"}),
        json!({"args": {"s__other": {"/x": {"max_length": 1}}}}),
    ] {
        let mut told = Vec::new();
        for name in ["s__look", "s__note", "s__absent", "nobody__nothing"] {
            let reply = want(&gateway, a.token(), &task(&[name], &more)).await;
            assert_eq!(fault(&reply), (400, "invalid_authorization_details".to_owned()), "{name} {more}: {}", reply.text);
            told.push(reply.text);
        }
        assert!(told.iter().all(|text| *text == told[0]), "{told:?}");
    }
    // One line for each, and nothing was made.
    let decided = decisions(&gateway);
    assert!(decided.iter().all(|one| one["effect"] == "deny"));
    let mut calls: Vec<&str> = decided.iter().map(|one| one["call_id"].as_str().unwrap()).collect();
    calls.dedup();
    assert_eq!((decided.len(), calls.len()), (33, 33));
    assert_eq!(gateway.cli.ok(&["grants", "list", "--all", "--json"]).trim(), "[]");
    // Without an identity of one's own, or what is wanted.
    let made = gateway.cli.ok(&["grants", "create", "--agent", "a", "--purpose", "p", "--tools", "s__look"]);
    let by_grant = want(&gateway, &made, &task(&["s__look"], &json!({}))).await;
    assert_eq!(fault(&by_grant), (400, "invalid_request".to_owned()), "{}", by_grant.text);
    assert_eq!(want(&gateway, "ba_x", &task(&["s__look"], &json!({}))).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_that_names_it_and_beyond_a_number_there_is_none() {
    let everything = "@id(\"all\") permit (principal, action, resource);";
    let other = "@id(\"d\") permit (principal, action == Bailiwick::Action::\"delegate\", resource);";
    for policy in [other, everything] {
        let (gateway, _script) = house(policy, "");
        let reply = want(&gateway, gateway.agent("a").token(), &task(&["s__look"], &json!({}))).await;
        assert_eq!(fault(&reply), (400, "invalid_grant".to_owned()), "{policy}: {}", reply.text);
    }
    let (mut gateway, _script) = house(PERMIT, "[auto_grants]\nmax_ttl = \"10m\"\nmax_live_per_agent = 2");
    let a = gateway.agent("a");
    let wanted = task(&["s__look"], &json!({}));
    let first = want(&gateway, a.token(), &wanted).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(want(&gateway, a.token(), &wanted).await.status, 200);
    assert_eq!(fault(&want(&gateway, a.token(), &wanted).await), (400, "invalid_grant".to_owned()));
    assert_eq!(decisions(&gateway).last().unwrap()["reason"], "too_many");
    // One that has ended makes room.
    gateway.cli.ok(&["grants", "revoke", first.json()["grant_id"].as_str().unwrap()]);
    let third = want(&gateway, a.token(), &wanted).await;
    assert_eq!(third.status, 200, "{}", third.text);
    // Whoever is frozen gets none, and what a tool becomes is no matter of the grant: it reaches reads of band `low`.
    gateway.cli.ok(&["freeze", "--agent", "a", "--reason", "look first"]);
    assert_eq!(want(&gateway, a.token(), &wanted).await.status, 400);
    gateway.cli.ok(&["thaw", "--agent", "a", "--reason", "looked"]);
    let own = Agent::new(&gateway.url, third.json()["access_token"].as_str().unwrap());
    assert_eq!(own.tools().await, ["s__look"]);
    gateway.reconfigure(|toml| {
        toml.replace(
            "tools.look = { kind = \"read\", band = \"low\" }\ntools.peek",
            "tools.look = { kind = \"write\", band = \"low\" }\ntools.peek",
        )
    });
    gateway.cli.ok(&["reload"]);
    assert_eq!(own.tools().await, Vec::<String>::new());
}
