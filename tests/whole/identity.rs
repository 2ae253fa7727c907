//! Agents that prove themselves by tokens of an issuer.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{
    Agent, Gateway, Reply, Script, Setup,
    issuer::{Answer, KeyServer, Signer, jwks, sha256},
    tool, until,
};

/// A gateway with an issuer, and what its agents call.
struct Desk {
    gateway: Gateway,
    script: Script,
    server: KeyServer,
    signer: Signer,
}

impl Desk {
    /// `issuer` is further TOML of the issuer `corp`. Agent `a` is its subject `agent-a`, `off` its `agent-off`.
    fn new(issuer: &str) -> Self {
        Self::with(issuer, |_, setup| setup)
    }

    fn with(issuer: &str, more: impl FnOnce(&Publisher, Setup) -> Setup) -> Self {
        let signer = Signer::new("k1");
        let server = KeyServer::of(&[signer.jwk(), signer.svid_jwk()]);
        let setup = Setup::new();
        let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("put", &["x"])]);
        let url = &server.url;
        let setup = setup
            .with(&format!("[[issuers]]\nid = \"corp\"\nissuer = \"{url}\"\njwks_url = \"{url}/keys\"\n{issuer}"))
            .with("[[agents]]\nid = \"a\"\nowner = \"a@example.com\"\nidentity = [{ issuer = \"corp\", subject = \"agent-a\" }]")
            .with("[[agents]]\nid = \"off\"\nowner = \"a@example.com\"\ndisabled = true\nidentity = [{ issuer = \"corp\", subject = \"agent-off\" }]")
            .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }\ntools.put = { kind = \"write\", band = \"medium\" }")
            .grant("g", "a", &["s__echo", "s__put"], "");
        let parts = Publisher { server, signer };
        let gateway = more(&parts, setup).start();
        let Publisher { server, signer } = parts;
        Self { gateway, script, server, signer }
    }

    /// What a good token for the agent `a` says, with some of it replaced.
    fn claims(&self, changes: &Value) -> Value {
        let mut claims = json!({
            "iss": self.server.url, "sub": "agent-a", "aud": self.gateway.url, "iat": now_s(), "exp": now_s() + 600, "jti": "1",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn agent(&self, changes: &Value) -> Agent {
        Agent::new(&self.gateway.url, &self.signer.token(&self.claims(changes)))
    }
}

/// What an issuer is made of.
struct Publisher {
    server: KeyServer,
    signer: Signer,
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn outcomes(gateway: &Gateway) -> Vec<Value> {
    gateway.records("calls").into_iter().filter(|record| record["event"] == "outcome").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_known_by_a_token_of_its_issuer() {
    let desk = Desk::new("");
    let agent = desk.agent(&json!({}));
    assert_eq!(agent.tools().await, ["s__echo", "s__put"]);
    for tool in ["s__echo", "s__put"] {
        assert_eq!(agent.call(tool, &json!({"x": "1"})).await.words(), r#"{"x":"1"}"#);
    }
    let session = agent.session("2025-11-25").await;
    assert!(!session.call("s__echo", &json!({"x": "2"})).await.is_tool_error());
    let calls: Vec<Value> = outcomes(&desk.gateway).into_iter().filter(|record| record["method"] == "tools/call").collect();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| (&call["agent"], &call["auth_method"]) == (&json!("a"), &json!("jwt"))), "{calls:?}");
    assert_eq!(desk.server.count(), 1, "keys are read once");
    // Its own token still does.
    assert_eq!(desk.gateway.agent("a").tools().await, ["s__echo", "s__put"]);
}

/// Attacks 55, 56, 64, 73: one answer for all of them, and each on record with its cause.
#[tokio::test(flavor = "multi_thread")]
async fn a55_a56_a64_what_proves_no_registered_agent_is_refused_and_on_record() {
    let desk = Desk::new("");
    let (signer, now) = (&desk.signer, now_s());
    let good = desk.claims(&json!({}));
    let unsigned = {
        let token = signer.with_header(&json!({"alg": "none"}), &good);
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    let cases = [
        (signer.token(&desk.claims(&json!({"sub": "agent-b"}))), "`agent-b` of issuer `corp` is not registered as an agent"),
        (signer.token(&desk.claims(&json!({"sub": "a"}))), "`a` of issuer `corp` is not registered as an agent"),
        (signer.token(&desk.claims(&json!({"sub": "agent-off"}))), "agent `off` is disabled"),
        (signer.token(&desk.claims(&json!({"iat": now - 900, "exp": now - 60}))), "the token has expired"),
        (signer.token(&desk.claims(&json!({"exp": now + 2 * 86_400}))), "max_lifetime"),
        (signer.token(&desk.claims(&json!({"nbf": now + 300}))), "not good yet"),
        // What a person's token for an application is.
        (signer.token(&desk.claims(&json!({"aud": "https://wiki.example.com"}))), "for another audience"),
        (signer.token(&desk.claims(&json!({"iss": "https://other.example.com"}))), "`https://other.example.com` is no issuer"),
        (Signer::new("k1").token(&good), "the signature is not by the key"),
        (Signer::new("k9").token(&good), "none is called `k9`"),
        (signer.with_header(&json!({"alg": "HS256", "kid": "k1"}), &good), "`HS256` is no algorithm that is taken"),
        (unsigned, "`none` is no algorithm that is taken"),
        ("a.b.c".to_owned(), "can't be read"),
        ("eyJ.eyJ.".to_owned(), "can't be read"),
    ];
    let mut answers = Vec::new();
    for (token, _) in &cases {
        let reply = Agent::new(&desk.gateway.url, token).list().await;
        assert_eq!(reply.status, 401, "{token}: {}", reply.text);
        answers.push(reply.text);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "one answer for all: {answers:?}");
    let records = outcomes(&desk.gateway);
    assert_eq!(records.len(), cases.len());
    for (record, (token, why)) in records.iter().zip(&cases) {
        assert_eq!(record["outcome"], "unauthenticated", "{record}");
        assert!(record["detail"].as_str().unwrap().contains(why), "{why}: {record}");
        assert!(record["agent"].is_null() && !record.to_string().contains(token.as_str()), "{record}");
    }
    assert!(desk.script.calls().is_empty());
    let written = String::from_utf8_lossy(&desk.gateway.everything_written()).into_owned();
    let of_good = signer.token(&good);
    assert!(!written.contains(of_good.split('.').nth(1).unwrap()), "no token is written anywhere");
}

/// Attack 70: what a request says of its sender beside its credential is nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a70_what_a_sender_says_of_itself_is_never_believed() {
    let desk = Desk::new("");
    let claims = [
        ("user-agent", "a"),
        ("x-forwarded-user", "a"),
        ("x-spiffe-id", "spiffe://example.org/a"),
        ("x-forwarded-client-cert", "URI=spiffe://example.org/a"),
        ("baggage", "user=admin,agent=a"),
        ("bailiwick-agent", "a"),
        ("x-user", "admin"),
    ];
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{}}}}}"#, Agent::meta());
    let headers: Vec<(&str, &str)> =
        claims.into_iter().chain([("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")]).collect();
    let nobody = Agent::new(&desk.gateway.url, &desk.signer.token(&desk.claims(&json!({"sub": "x"}))));
    assert_eq!(nobody.post(&body, &headers).await.status, 401);
    // Nor do they make an agent another one.
    let agent = desk.agent(&json!({"preferred_username": "admin", "roles": ["admin"], "agent": "off"}));
    assert_eq!(agent.post(&body, &headers).await.status, 200);
    let said = agent.call_with_meta("s__echo", &json!({"x": "1"}), r#""agent":"off","as_user":"admin","#).await;
    assert_eq!(said.status, 200);
    let call = outcomes(&desk.gateway).pop().unwrap();
    assert_eq!((&call["agent"], &call["auth_method"]), (&json!("a"), &json!("jwt")));
}

/// Attack 73: an agent's token opens nothing of the operator's.
#[tokio::test(flavor = "multi_thread")]
async fn a73_an_agents_token_is_nothing_to_an_operator() {
    let desk = Desk::new("");
    let token = desk.signer.token(&desk.claims(&json!({})));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/v1/approvals", "/v1/agents", "/v1/grants", "/approvals", "/admin", "/mcp"] {
        for base in [desk.gateway.console.clone(), desk.gateway.url.trim_end_matches("/mcp").to_owned()] {
            let is_agents_own = path == "/mcp" && desk.gateway.url.starts_with(&base);
            let reply = http.get(format!("{base}{path}")).bearer_auth(&token).send().await.unwrap();
            // The console takes no credential of an agent, whatever is asked for.
            let is_refused = matches!(reply.status().as_u16(), 403 | 404);
            assert!(is_agents_own || is_refused, "{base}{path}: {}", reply.status());
        }
    }
    // The operator's socket asks the system who is there: nobody is let in for a token.
    let socket = desk.gateway.cli.data().join("admin.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// Attack 72: running copies of one agent are told apart on record.
#[tokio::test(flavor = "multi_thread")]
async fn a72_instances_and_other_kinds_of_issuers_are_on_record() {
    let desk = Desk::with("", |parts, setup| {
        let bundle = setup.folder().join("bundle.json");
        std::fs::write(&bundle, jwks(&[parts.signer.svid_jwk()])).unwrap();
        setup
            .with(&format!(
                "[[issuers]]\nid = \"cluster\"\nprofile = \"kubernetes\"\nissuer = \"https://kubernetes.default.svc\"\njwks_url = \"{}/keys\"",
                parts.server.url
            ))
            .with("[[issuers]]\nid = \"mesh\"\nprofile = \"spiffe_jwt\"\ntrust_domain = \"example.org\"\njwks_file = \"bundle.json\"")
            .with(
                "[[agents]]\nid = \"k\"\nowner = \"k@example.com\"\nidentity = [{ issuer = \"cluster\", subject = \"system:serviceaccount:agents:triage\" }, \
                 { issuer = \"mesh\", subject = \"spiffe://example.org/agent/*\" }]",
            )
            .grant("gk", "k", &["s__echo"], "")
    });
    let pod = |uid: &str| {
        desk.agent(&json!({
            "iss": "https://kubernetes.default.svc", "aud": [desk.gateway.url], "sub": "system:serviceaccount:agents:triage",
            "kubernetes.io": {"namespace": "agents", "pod": {"name": "p", "uid": uid}, "serviceaccount": {"name": "triage", "uid": "u"}},
        }))
    };
    let svid = |id: &str| {
        let claims = json!({"sub": id, "aud": [desk.gateway.url], "exp": now_s() + 300});
        Agent::new(&desk.gateway.url, &desk.signer.token(&claims))
    };
    for agent in [pod("pod-1"), pod("pod-2"), svid("spiffe://example.org/agent/k")] {
        assert!(!agent.call("s__echo", &json!({"x": "1"})).await.is_tool_error());
    }
    for stranger in ["spiffe://example.org/other", "spiffe://other.org/agent/k", "spiffe://example.org/agent/"] {
        assert_eq!(svid(stranger).list().await.status, 401, "{stranger}");
    }
    let calls: Vec<_> = outcomes(&desk.gateway)
        .into_iter()
        .filter(|record| record["method"] == "tools/call")
        .map(|call| (call["agent"].clone(), call["instance"].clone(), call["auth_method"].clone()))
        .collect();
    let of = |instance: Value, method: &str| (json!("k"), instance, json!(method));
    assert_eq!(calls, [of(json!("pod-1"), "jwt"), of(json!("pod-2"), "jwt"), of(Value::Null, "jwt_svid")]);
}

/// A call with an effect, by a token of this scheme and with these proofs.
async fn put(agent: &Agent, scheme: &str, proofs: &[&str]) -> Reply {
    let mut request = agent.request_with_meta("s__put", &json!({"x": "1"}), "").build().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("{scheme} {}", agent.token()).parse().unwrap());
    for proof in proofs {
        headers.append("dpop", proof.parse().unwrap());
    }
    let response = reqwest::Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, text: response.text().await.unwrap() }
}

/// What a proof is wanted with, where the answer says so as the standard has it (RFC 9449, section 9).
fn nonce_of(reply: &Reply) -> Option<String> {
    let nonce = reply.headers.get("dpop-nonce")?.to_str().unwrap().to_owned();
    let wanted = reply.headers["www-authenticate"].to_str().unwrap();
    assert!(wanted.starts_with("DPoP ") && wanted.contains(r#"error="use_dpop_nonce""#), "{wanted}");
    assert_eq!((reply.status, reply.headers["cache-control"].to_str().unwrap()), (401, "no-store"));
    Some(nonce)
}

/// Attack 67: nobody waits for the gateway to know what was shown before it started.
#[tokio::test(flavor = "multi_thread")]
async fn a67_right_after_a_start_a_proof_is_good_with_a_nonce_of_the_gateways() {
    let before_s = now_s();
    let desk = Desk::new("sender_constraint = \"dpop\"\naudience = \"us\"");
    let (holder, thief) = (Signer::new(""), Signer::new(""));
    let token = desk.signer.token(&desk.claims(&json!({"aud": "us", "cnf": {"jkt": holder.thumbprint()}})));
    let url = desk.gateway.url.clone();
    // Made before the start, and in time: so it might have been shown to the gateway before this one.
    let claims = |id: &str, nonce: Option<&str>, made_s: u64| {
        let mut claims = json!({"jti": id, "htm": "POST", "htu": url, "iat": made_s, "ath": sha256(&token)});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        claims
    };
    let proof = |id: &str, nonce: Option<&str>| holder.proof(&claims(id, nonce, before_s));
    let agent = Agent::new(&url, &token);
    let stolen = put(&agent, "DPoP", &[&thief.proof(&claims("0", None, before_s))]).await;
    assert_eq!((stolen.status, nonce_of(&stolen)), (401, None), "who has not the key is told nothing");
    let first = put(&agent, "DPoP", &[&proof("1", None)]).await;
    let nonce = nonce_of(&first).expect("a nonce");
    assert!(first.json()["error"]["message"].as_str().unwrap().contains("DPoP-Nonce"), "{}", first.text);
    let good = proof("1", Some(&nonce));
    for (proof, status) in [(&good, 200), (&good, 401), (&proof("2", Some(&nonce)), 200)] {
        assert_eq!(put(&agent, "DPoP", &[proof]).await.status, status);
    }
    assert_eq!(desk.script.calls().len(), 2);
    // At the endpoints of OAuth too, in their words.
    let headers = [("authorization", format!("DPoP {token}")), ("dpop", proof("3", None))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let asked = crate::harness::oauth::post(&desk.gateway, "/oauth/revoke", "token=x", &headers).await;
    assert!(nonce_of(&asked).is_some() && asked.json()["error"] == "use_dpop_nonce", "{}", asked.text);
    // The gateway after this one gave none of them: it gives its own, and takes nothing that was shown before.
    let restarted_s = now_s();
    let gateway = desk.gateway.kill_and_restart();
    let agent = Agent::new(&gateway.url, &token);
    let proof = |id: &str, nonce: &str| {
        let mut claims = claims(id, Some(nonce), restarted_s);
        claims["htu"] = json!(gateway.url);
        holder.proof(&claims)
    };
    let other = nonce_of(&put(&agent, "DPoP", &[&proof("4", &nonce)]).await).expect("another nonce");
    assert_ne!(other, nonce);
    assert_eq!(put(&agent, "DPoP", &[&proof("4", &other)]).await.status, 200);
    assert_eq!(desk.script.calls().len(), 3);
}

/// Attack 67.
#[tokio::test(flavor = "multi_thread")]
async fn a67_a_bound_token_needs_a_fresh_proof_for_each_request() {
    let desk = Desk::new("sender_constraint = \"dpop\"");
    let holder = Signer::new("");
    let token = desk.signer.token(&desk.claims(&json!({"cnf": {"jkt": holder.thumbprint()}})));
    let agent = Agent::new(&desk.gateway.url, &token);
    // As far ahead as a clock may be, once the second of the start is over: so nobody could have shown it before.
    let started_s = now_s();
    until("the second of the start is over", || now_s() > started_s).await;
    let proof = |id: &str, htm: &str, htu: &str| {
        holder.proof(&json!({"jti": id, "htm": htm, "htu": htu, "iat": now_s() + 5, "ath": sha256(&token)}))
    };
    let url = desk.gateway.url.clone();
    let put = async |scheme: &str, proofs: &[&str]| put(&agent, scheme, proofs).await;
    let first = proof("1", "POST", &url);
    assert_eq!(put("Bearer", &[]).await.status, 401, "no bearer token");
    assert_eq!(put("Bearer", &[&first]).await.status, 401, "not even with a proof");
    assert_eq!(put("DPoP", &[]).await.status, 401);
    assert_eq!(put("DPoP", &[&first, &proof("2", "POST", &url)]).await.status, 401, "one proof, and one only");
    assert_eq!(put("DPoP", &[&proof("3", "GET", &url)]).await.status, 401);
    assert_eq!(put("DPoP", &[&proof("4", "POST", &url.replace("/mcp", "/"))]).await.status, 401);
    assert!(desk.script.calls().is_empty());
    // A call with an effect has its sender proven twice, by the same proof.
    let done = put("dpop", &[&first]).await;
    assert_eq!((done.status, done.words()), (200, r#"{"x":"1"}"#.to_owned()), "{}", done.text);
    assert_eq!(put("DPoP", &[&first]).await.status, 401, "a proof is good once");
    assert_eq!(put("DPoP", &[&proof("5", "POST", &url)]).await.status, 200);
    assert_eq!(desk.script.calls().len(), 2);
    let details: Vec<String> =
        outcomes(&desk.gateway).iter().map(|record| record["detail"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(details.iter().any(|detail| detail.contains("was shown before")), "{details:?}");
    assert!(details.iter().any(|detail| detail.contains("bound to a key, and came as a bearer token")), "{details:?}");
    // Unbound tokens of this issuer are none.
    assert_eq!(desk.agent(&json!({})).list().await.status, 401);
}

/// Whose word counts follows the configuration, and keys follow the issuer.
#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_and_another_key_count_at_once() {
    let mut desk = Desk::new("");
    let agent = desk.agent(&json!({}));
    assert_eq!(agent.list().await.status, 200);
    // A new key is taken up by the first token that names it.
    let next = Signer::new("k2");
    desk.server.answer("/keys", Answer::Json(jwks(&[desk.signer.jwk(), next.jwk()])));
    assert_eq!(Agent::new(&desk.gateway.url, &next.token(&desk.claims(&json!({})))).list().await.status, 200);
    assert_eq!(desk.server.count(), 2);
    desk.gateway.reconfigure(|toml| toml.replace("subject = \"agent-a\"", "subject = \"agent-z\""));
    desk.gateway.cli.ok(&["reload"]);
    assert_eq!(agent.list().await.status, 401);
    assert_eq!(desk.agent(&json!({"sub": "agent-z"})).list().await.status, 200);
    assert_eq!(desk.server.count(), 2, "an issuer that is what it was keeps its keys");
    desk.gateway.reconfigure(|toml| toml.replace("id = \"corp\"", "id = \"corp\"\naudience = \"elsewhere\""));
    desk.gateway.cli.ok(&["reload"]);
    assert_eq!(desk.agent(&json!({"sub": "agent-z"})).list().await.status, 401);
    assert_eq!(desk.agent(&json!({"sub": "agent-z", "aud": "elsewhere"})).list().await.status, 200);
    until("it is said what changed", || {
        desk.gateway.records("admin").iter().any(|record| record.to_string().contains("\"issuers\""))
    })
    .await;
}
