//! The endpoints of OAuth: what they refuse and how, what they tell whom, and what they put on record.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::hops::{crew, lead};
use crate::harness::{
    Agent, Gateway, oauth,
    oauth::{ACCESS_TOKEN, EXCHANGE, fault, form, hand_on, handed_on, post, read, revoke, task},
};

/// The SHA-256 of `resource-server-secret`.
const SERVERS: &str = "[[resource_servers]]\nid = \"api\"\n\
                       secret_sha256 = \"SHA\"\n";

fn servers() -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"resource-server-secret");
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    SERVERS.replace("SHA", &hex)
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn look(gateway: &Gateway, token: &str) -> Value {
    let reply = post(
        gateway,
        "/oauth/introspect",
        &form(&[("token", token)]),
        &[("authorization", &basic("api", "resource-server-secret"))],
    )
    .await;
    assert_eq!((reply.status, &reply.headers["cache-control"]), (200, &"no-store".parse().unwrap()), "{}", reply.text);
    reply.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_exchange_is_refused_in_the_words_of_the_standard() {
    let (gateway, _script) = crew("");
    let (root, scout) = (lead(&gateway, &["--delegation-depth", "1"]), gateway.agent("scout"));
    let details = json!([task(&["s__echo"], &json!({}))]).to_string();
    let good = oauth::exchange(&root, scout.token(), &details);
    let with = |name: &str, value: &str| {
        let mut changed: Vec<(&str, &str)> = good.iter().copied().filter(|(own, _)| *own != name).collect();
        changed.push((name, value));
        form(&changed)
    };
    let beyond = |more: Value| json!([task(&["s__echo"], &more)]).to_string();
    let erase = json!([task(&["s__echo_erase"], &json!({}))]).to_string();
    let absent = json!([task(&["nowhere__tool"], &json!({}))]).to_string();
    let url = gateway.url.replace("/mcp", "");
    for (body, expected) in [
        (with("grant_type", ""), "invalid_request"),
        (with("grant_type", "client_credentials"), "unsupported_grant_type"),
        (with("grant_type", "authorization_code"), "unsupported_grant_type"),
        (with("subject_token", ""), "invalid_request"),
        (with("subject_token", "x"), "invalid_request"),
        (with("subject_token_type", ""), "invalid_request"),
        (with("subject_token_type", "urn:ietf:params:oauth:token-type:saml2"), "invalid_request"),
        (with("actor_token_type", ""), "invalid_request"),
        (with("actor_token", ""), "invalid_request"),
        (with("actor_token", "x"), "invalid_request"),
        (with("actor_token", gateway.agent("lead").token()), "invalid_request"),
        (with("requested_token_type", "urn:ietf:params:oauth:token-type:jwt"), "invalid_request"),
        (with("scope", "all"), "invalid_scope"),
        (with("resource", "https://elsewhere.example.com/mcp"), "invalid_target"),
        (with("audience", "agent:scout"), "invalid_target"),
        (with("authorization_details", ""), "invalid_request"),
        (with("authorization_details", "[]"), "invalid_authorization_details"),
        (with("authorization_details", "{\"type\":\"payment\"}"), "invalid_authorization_details"),
        (with("authorization_details", &beyond(json!({"colour": 1}))), "invalid_authorization_details"),
        (with("authorization_details", &beyond(json!({"delegation_depth": 1}))), "invalid_authorization_details"),
        (with("authorization_details", &beyond(json!({"delegation_depth": 9}))), "invalid_authorization_details"),
        (with("authorization_details", &beyond(json!({"expires_in": 3600}))), "invalid_authorization_details"),
        (with("authorization_details", &beyond(json!({"ceiling": "critical"}))), "invalid_authorization_details"),
        (with("authorization_details", &beyond(json!({"environment": "production"}))), "invalid_authorization_details"),
        (with("authorization_details", &erase), "invalid_authorization_details"),
        (with("authorization_details", &absent), "invalid_authorization_details"),
        (format!("{}&subject_token={root}", form(&good)), "invalid_request"),
        (format!("{}&x=%", form(&good)), "invalid_request"),
        (String::new(), "invalid_request"),
    ] {
        let reply = post(&gateway, "/oauth/token", &body, &[]).await;
        assert_eq!(fault(&reply), (400, expected.to_owned()), "{body}\n{}", reply.text);
        assert_eq!(reply.headers["cache-control"], "no-store");
        let told = reply.json()["error_description"].as_str().unwrap().to_owned();
        assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\'), "{told}");
        assert!(!told.contains("tg_") && !told.contains("ba_"), "{told}");
    }
    // What nobody has and what is not handed on are told alike.
    let [of_erase, of_absent] = [&erase, &absent].map(|details| with("authorization_details", details));
    let (of_erase, of_absent) =
        (post(&gateway, "/oauth/token", &of_erase, &[]).await, post(&gateway, "/oauth/token", &of_absent, &[]).await);
    assert_eq!(of_erase.text.replace("s__echo_erase", "X"), of_absent.text.replace("nowhere__tool", "X"));
    // And what is one, is one: with the resource that clients name, and parameters that nobody knows.
    for more in [
        with("resource", &gateway.url),
        with("audience", &url),
        format!("{}&resource={}&resource={url}&client_id=x", form(&good), gateway.url),
    ] {
        let reply = post(&gateway, "/oauth/token", &more, &[]).await;
        assert_eq!(reply.status, 200, "{more}\n{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_gets_a_grant_by_itself() {
    let (gateway, _script) = crew("");
    let (lead, scout) = (gateway.agent("lead"), gateway.agent("scout"));
    let alone = [("grant_type", EXCHANGE), ("subject_token", lead.token()), ("subject_token_type", ACCESS_TOKEN)];
    let reply = post(&gateway, "/oauth/token", &form(&alone), &[]).await;
    assert_eq!(fault(&reply), (400, "invalid_grant".to_owned()));
    assert!(reply.text.contains("operator"), "{}", reply.text);
    let without = hand_on(&gateway, lead.token(), &scout, &task(&["s__echo"], &json!({}))).await;
    assert_eq!(fault(&without), (400, "invalid_grant".to_owned()));
    let list: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["grants", "list", "--all", "--json"])).unwrap();
    assert!(list.is_empty(), "{list:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_of_these_endpoints_is_as_strict_as_that_of_mcp() {
    let (gateway, _script) = crew("");
    let root = lead(&gateway, &["--delegation-depth", "1"]);
    let body = form(&[("token", &root)]);
    for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
        for (headers, status) in [
            (vec![("host", "evil.example")], 403),
            (vec![("origin", "https://evil.example")], 403),
            (vec![("authorization", "Bearer x")], 401),
            (vec![("authorization", "Basic eDp5")], 401),
            (vec![("authorization", "x")], 401),
        ] {
            let reply = post(&gateway, path, &body, &headers).await;
            assert_eq!(reply.status, status, "{path} {headers:?} {}", reply.text);
            assert_eq!(reply.headers.contains_key("www-authenticate"), status == 401, "{path} {headers:?}");
        }
        let client = Client::builder().no_proxy().build().unwrap();
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let reply = Agent::send(client.request(method, oauth::at(&gateway, path))).await;
            assert_eq!((reply.status, &reply.headers["allow"]), (405, &"POST".parse().unwrap()), "{path}");
        }
    }
    for path in ["/oauth/token", "/oauth/revoke"] {
        let as_json = post(&gateway, path, "{}", &[("content-type", "application/json")]).await;
        assert_eq!(as_json.status, 415, "{path}");
        let packed = post(&gateway, path, &body, &[("content-encoding", "gzip")]).await;
        assert_eq!(packed.status, 415, "{path}");
        let large = post(&gateway, path, &format!("token={}", "x".repeat(70_000)), &[]).await;
        assert_eq!(large.status, 413, "{path}");
        // A token in a URL would end up in logs: it is not even looked at.
        let in_url = post(&gateway, &format!("{path}?{body}"), &body, &[]).await;
        assert_eq!(fault(&in_url), (400, "invalid_request".to_owned()), "{path}");
    }
    assert!(!Agent::new(&gateway.url, &root).tools().await.is_empty(), "nothing was revoked by any of that");
    let records = gateway.records("calls");
    let of = |reason: &str| records.iter().filter(|record| record["reason"] == reason).count();
    assert_eq!((of("foreign_site"), of("unauthenticated"), of("query"), of("too_large"), of("media_type")), (6, 9, 2, 2, 4));
    assert_eq!(of("method"), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_sends_no_more_here_than_elsewhere() {
    let (gateway, _script) = crew("");
    let mut gateway = gateway;
    gateway.reconfigure(|text| text.replace("[server]\n", "[server]\nmax_rate_per_agent = 1\n"));
    gateway.cli.ok(&["reload"]);
    let root = lead(&gateway, &[]);
    let alone = form(&[("grant_type", EXCHANGE), ("subject_token", &root), ("subject_token_type", ACCESS_TOKEN)]);
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(post(&gateway, "/oauth/token", &alone, &[]).await.status);
    }
    assert!(statuses.contains(&429) && statuses[0] == 400, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_given_back_by_its_holder_and_taken_back_from_above() {
    let (gateway, _script) = crew("");
    let root = lead(&gateway, &["--delegation-depth", "1"]);
    let [scout, clerk, stranger] = ["scout", "clerk", "stranger"].map(|id| gateway.agent(id));
    let wanted = task(&["s__echo"], &json!({}));
    let (first, _) = handed_on(&gateway, &root, &scout, &wanted).await;
    let (second, _) = handed_on(&gateway, &root, &clerk, &wanted).await;
    let (third, answer) = handed_on(&gateway, &root, &clerk, &wanted).await;
    let bearer = |token: &str| format!("Bearer {token}");
    // A token that nobody knows, and another's: alike, and nothing happens.
    let unknown = revoke(&gateway, "tg_nothing", &[]).await;
    for headers in [bearer(stranger.token()), bearer(clerk.token())] {
        let foreign = revoke(&gateway, first.token(), &[("authorization", &headers)]).await;
        assert_eq!((foreign.status, &foreign.text), (unknown.status, &unknown.text));
    }
    assert_eq!((unknown.status, unknown.text.as_str(), first.tools().await.len()), (200, "", 1));
    // Its holder; its agent; an agent above.
    assert_eq!(revoke(&gateway, first.token(), &[]).await.status, 200);
    assert_eq!(revoke(&gateway, second.token(), &[("authorization", &bearer(clerk.token()))]).await.status, 200);
    assert_eq!(revoke(&gateway, third.token(), &[("authorization", &bearer(&root))]).await.status, 200);
    for ended in [&first, &second, &third] {
        assert_eq!(ended.list().await.status, 401);
        assert_eq!(revoke(&gateway, ended.token(), &[]).await.status, 200, "once more");
    }
    let shown: Value = serde_json::from_str(&gateway.cli.ok(&["grants", "list", "--all", "--json"])).unwrap();
    let state = |agent: &str| {
        shown.as_array().unwrap().iter().filter(|one| one["agent"] == agent).map(|one| one["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(state("scout"), [json!("completed")]);
    let third_state = shown.as_array().unwrap().iter().find(|one| one["id"] == answer["grant_id"]).unwrap();
    assert_eq!(third_state["state"], json!("revoked"));
    assert!(!Agent::new(&gateway.url, &root).tools().await.is_empty(), "what is above stays");
    // An agent's own token ends no grant, and nobody else takes it away.
    let other = gateway.agent("scout");
    assert_eq!(revoke(&gateway, scout.token(), &[("authorization", &bearer(stranger.token()))]).await.status, 200);
    assert_eq!(hand_on(&gateway, &root, &scout, &wanted).await.status, 200);
    assert_eq!(revoke(&gateway, scout.token(), &[]).await.status, 200);
    assert_eq!(hand_on(&gateway, &root, &scout, &wanted).await.status, 400);
    assert_eq!(hand_on(&gateway, &root, &other, &wanted).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_servers_are_told_what_a_token_is_good_for_and_nobody_else_is() {
    let (gateway, _script) = crew(&servers());
    let root = lead(&gateway, &["--delegation-depth", "1"]);
    let scout = gateway.agent("scout");
    let wanted = task(&["s__echo"], &json!({"args": {"s__echo": {"/project": {"eq": "x"}}}, "expires_in": 300}));
    let (child, answer) = handed_on(&gateway, &root, &scout, &wanted).await;
    let body = form(&[("token", child.token())]);
    for header in [
        "",
        &basic("api", "resource-server-secre"),
        &basic("api", ""),
        &basic("apis", "resource-server-secret"),
        &basic("", ""),
        &format!("Bearer {}", child.token()),
        &format!("Bearer {}", scout.token()),
        "Basic",
    ] {
        let headers = [("authorization", header)];
        let reply = post(&gateway, "/oauth/introspect", &body, if header.is_empty() { &[] } else { &headers }).await;
        assert_eq!(fault(&reply), (401, "invalid_client".to_owned()), "{header}");
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    }
    let told = look(&gateway, child.token()).await;
    for (key, expected) in [
        ("active", json!(true)),
        ("client_id", json!("scout")),
        ("sub", json!("lead")),
        ("act", json!({"sub": "scout"})),
        ("aud", json!(gateway.url)),
        ("token_type", json!("Bearer")),
        ("grant_id", answer["grant_id"].clone()),
        ("authorization_details", answer["authorization_details"].clone()),
    ] {
        assert_eq!(told[key], expected, "{key}: {told}");
    }
    assert!(told["exp"].as_u64() > told["iat"].as_u64() && told["iat"] == told["nbf"]);
    let above = look(&gateway, &root).await;
    assert_eq!((&above["client_id"], &above["sub"], above.get("act")), (&json!("lead"), &json!("lead"), None));
    let own = look(&gateway, scout.token()).await;
    assert_eq!((&own["active"], &own["client_id"], own.get("grant_id")), (&json!(true), &json!("scout"), None));
    // Whatever is good for nothing now, is told alike.
    let nothing = json!({"active": false});
    for token in ["x", "tg_x", "ba_x", root.get(1..).unwrap(), &format!("{root}A")] {
        assert_eq!(look(&gateway, token).await, nothing, "{token}");
    }
    revoke(&gateway, &root, &[]).await;
    for token in [child.token(), &root] {
        assert_eq!(look(&gateway, token).await, nothing);
    }
    gateway.cli.ok(&["agents", "token", "scout", "--ttl", "1h"]);
    let looked: Vec<Value> =
        gateway.records("calls").into_iter().filter(|record| record["method"] == "oauth/introspect").collect();
    assert_eq!(looked.iter().filter(|record| record["outcome"] == "unauthenticated").count(), 8);
    assert!(
        looked
            .iter()
            .filter(|record| record["outcome"] == "success")
            .all(|record| record["detail"].as_str().unwrap().contains("`api`"))
    );
    let written = gateway.everything_written();
    for secret in [child.token(), &root, scout.token(), "resource-server-secret"] {
        assert!(!written.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_where_tokens_are_handed_on() {
    let (gateway, _script) = crew("");
    let refused = Agent::new(&gateway.url, "x").list().await;
    let challenge = refused.headers["www-authenticate"].to_str().unwrap().to_owned();
    let metadata = challenge.split_once("resource_metadata=\"").unwrap().1.trim_end_matches('"').to_owned();
    let path = metadata.strip_prefix(gateway.url.trim_end_matches("/mcp")).unwrap();
    let resource = read(&gateway, path).await.json();
    assert_eq!((&resource["resource"], &resource["bearer_methods_supported"]), (&json!(gateway.url), &json!(["header"])));
    assert_eq!(read(&gateway, "/.well-known/oauth-protected-resource").await.json(), resource);
    let server = read(&gateway, "/.well-known/oauth-authorization-server").await.json();
    assert_eq!(resource["authorization_servers"], json!([server["issuer"]]));
    for (key, path) in [
        ("token_endpoint", "/oauth/token"),
        ("revocation_endpoint", "/oauth/revoke"),
        ("introspection_endpoint", "/oauth/introspect"),
    ] {
        assert_eq!(server[key], json!(oauth::at(&gateway, path)), "{key}");
    }
    assert_eq!(server["grant_types_supported"], json!([EXCHANGE]));
    assert_eq!(server.get("authorization_endpoint"), None, "there is no login");
    for path in ["/.well-known/oauth-protected-resource/x", "/.well-known/openid-configuration", "/oauth/authorize"] {
        assert_eq!(read(&gateway, path).await.status, 404, "{path}");
    }
    let client = Client::builder().no_proxy().build().unwrap();
    let foreign = Agent::send(client.get(oauth::at(&gateway, path)).header("host", "evil.example")).await;
    assert_eq!(foreign.status, 403);
    // Behind a name of its own it says that name.
    let mut gateway = gateway;
    gateway.reconfigure(|text| text.replace("[server]\n", "[server]\npublic_url = \"https://g.example.com/a/mcp\"\n"));
    gateway.cli.ok(&["reload"]);
    let resource = read(&gateway, "/.well-known/oauth-protected-resource/a/mcp").await.json();
    assert_eq!(
        (&resource["resource"], &resource["authorization_servers"]),
        (&json!("https://g.example.com/a/mcp"), &json!(["https://g.example.com/a"]))
    );
}
