//! Tasks that their own agents end, and what is left of a task: budgets beyond calls, rates, bounds on where it reaches.

use serde_json::json;

use crate::harness::{Script, Setup, tool};

const VERSIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

fn setup(grants: impl FnOnce(Setup) -> Setup) -> Setup {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("get", &["x"]), tool("put", &["x"]), tool("mail", &["to"])]);
    let classes = "sensitivity = \"confidential\"\nlabels = []\nenvironment = \"staging\"\ntools.get = { kind = \"read\", band = \"low\" }\n\
                   tools.put = { kind = \"write\", band = \"low\", cost = 5 }\n\
                   tools.mail = { kind = \"exfiltrate\", band = \"low\", destination = \"/to\" }";
    grants(setup.agent("a").agent("b").connector("s", &script, classes))
}

const ALL: [&str; 3] = ["s__get", "s__put", "s__mail"];

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_its_task_in_every_version_and_what_it_had_is_gone() {
    for version in VERSIONS {
        let gateway = setup(|setup| {
            let setup = setup.grant("ga", "a", &ALL, "environment = \"staging\"\nmay_complete = true");
            setup.grant("gb", "b", &ALL, "environment = \"staging\"")
        })
        .start();
        let session = |agent| async move {
            let agent: crate::harness::Agent = agent;
            if version == "2026-07-28" { agent } else { agent.session(version).await }
        };
        let (a, b) = (session(gateway.agent("a")).await, session(gateway.agent("b")).await);
        assert_eq!(a.tools().await, ["s__get", "s__mail", "s__put", "complete_task"], "{version}");
        assert_eq!(b.tools().await, ["s__get", "s__mail", "s__put"]);
        // Where it is not given, it is not there.
        let unknown = b.call("complete_task", &json!({})).await;
        let nothing = b.call("complete_nothing", &json!({})).await;
        assert_eq!(unknown.text.replace("complete_task", "N"), nothing.text.replace("complete_nothing", "N"));
        a.call("s__get", &json!({"x": "1"})).await.result();
        assert!(a.call("complete_task", &json!({"outcome": "maybe"})).await.is_tool_error());
        assert!(a.call("complete_task", &json!({"note": "n".repeat(301)})).await.is_tool_error());
        let done = a.call("complete_task", &json!({"outcome": "done", "note": "all answered"})).await;
        assert_eq!(done.result()["structuredContent"], json!({"completed": true, "drained": true}), "{}", done.text);
        assert_eq!(a.tools().await, Vec::<String>::new());
        assert_eq!(a.call("s__get", &json!({"x": "2"})).await.error_code(), -32602);
        let shown: [serde_json::Value; 1] = serde_json::from_str(&gateway.cli.ok(&["grants", "show", "ga", "--json"])).unwrap();
        assert_eq!(
            (&shown[0]["state"], &shown[0]["ending"]["by"], &shown[0]["ending"]["reason"]),
            (&json!("completed"), &json!("agent:a"), &json!("done: all answered"))
        );
        let records = gateway.records("admin");
        let results: Vec<_> =
            records.iter().filter(|record| record["event"] == "grant_completed").map(|record| &record["result"]).collect();
        assert_eq!(results, ["begun", "done"]);
        let outcome = gateway
            .records("calls")
            .into_iter()
            .find(|record| record["tool"] == "complete_task" && record["outcome"] == "success");
        assert!(outcome.is_some());
        b.call("s__get", &json!({"x": "3"})).await.result();
    }
}

/// What a grant is bounded by beyond tools and arguments, each with a call that it lets through and one that it does not.
#[tokio::test(flavor = "multi_thread")]
async fn environments_classes_destinations_budgets_and_rates_bound_a_task() {
    let at = |more: &str| format!("environment = \"staging\"\n{more}");
    let gateway = setup(|setup| {
        let grants = [
            ("elsewhere", "environment = \"production\"".to_owned()),
            ("public", at("data_classes = [\"public\"]")),
            ("within", at("destinations = [\"example.com\"]")),
            ("dear", at("budget = { cost = 6 }")),
            ("few", at("budget = { tools = { \"s__*\" = 2 } }")),
            ("short", at("budget = { bytes_out = \"40B\" }")),
            ("slow", at("max_rate = 1")),
        ];
        grants.iter().fold(setup, |setup, (id, more)| setup.agent(id).grant(id, id, &ALL, more))
    })
    .start();
    let under = |grant: &str| gateway.agent(grant);
    for nothing in ["elsewhere", "public"] {
        assert_eq!(under(nothing).tools().await, Vec::<String>::new(), "{nothing}");
        assert_eq!(under(nothing).call("s__get", &json!({"x": "1"})).await.error_code(), -32602);
    }
    let within = under("within");
    within.call("s__mail", &json!({"to": "x@mail.example.com"})).await.result();
    for outside in ["x@example.org", "x@example.com.evil.org", "https://u@example.com/", "", "nobody"] {
        let refused = within.call("s__mail", &json!({"to": outside})).await;
        assert!(refused.is_tool_error() && refused.words().contains("example.com"), "{outside}: {}", refused.text);
    }
    let refused = |reply: crate::harness::Reply, why: &str| {
        assert!(reply.is_tool_error() && reply.words().contains(why), "{}", reply.text);
    };
    under("dear").call("s__put", &json!({"x": "1"})).await.result();
    refused(under("dear").call("s__put", &json!({"x": "2"})).await, "budget of 6 cost");
    under("dear").call("s__get", &json!({"x": "3"})).await.result();
    under("few").call("s__put", &json!({"x": "1"})).await.result();
    under("few").call("s__get", &json!({"x": "2"})).await.result();
    refused(under("few").call("s__get", &json!({"x": "3"})).await, "budget of 2 calls of s__*");
    under("short").call("s__get", &json!({"x": "1"})).await.result();
    refused(under("short").call("s__get", &json!({"x": "n".repeat(40)})).await, "budget of 40 bytes out");
    // Two at once, and then one a second.
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let reply = under("slow").call("s__get", &json!({"x": "1"})).await;
        if reply.status == 429 {
            assert_eq!(reply.headers["retry-after"], "1");
        }
        statuses.push(reply.status);
    }
    assert!(statuses.starts_with(&[200, 200]) && statuses.contains(&429), "{statuses:?}");
    // Whoever is never used is seen.
    let shown: [serde_json::Value; 1] = serde_json::from_str(&gateway.cli.ok(&["grants", "show", "dear", "--json"])).unwrap();
    assert_eq!((&shown[0]["never_used"], &shown[0]["used"]["cost"]), (&json!(["s__mail"]), &json!(6)));
    let agent: [serde_json::Value; 1] = serde_json::from_str(&gateway.cli.ok(&["agents", "show", "dear", "--json"])).unwrap();
    assert!(agent[0]["last_used_ms"].is_u64(), "{agent:?}");
}
