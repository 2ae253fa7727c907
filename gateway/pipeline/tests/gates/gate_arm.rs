//! `arm`: the least credential, lent for this grant and connector, and a channel made ready.

use bailiwick_pipeline::{
    grant::GrantState,
    ports::{ConnectFailure, LendFailure, Loan},
    records::Outcome,
};

use crate::world::{Bench, SECRET};

#[tokio::test]
async fn a_connector_that_needs_no_credential_is_lent_none() {
    let bench = Bench::new();
    let heard = bench.call("tickets__get", "{}").await;
    heard.ran();
    assert_eq!((bench.fakes.count("lend"), heard.secrets()), (0, vec![]));
    assert_eq!(heard.intents()[0].get("lease"), None);
}

#[tokio::test]
async fn what_is_lent_and_used_is_on_record_by_its_reference() {
    let bench = Bench::new();
    let heard = bench.call("vault__get", "{}").await;
    heard.ran();
    assert_eq!(heard.secrets(), ["lent", "used"]);
    assert_eq!(heard.intents()[0]["lease"], "lease-1");
    let record = &bench.fakes.records("secrets", &heard.call)[0];
    assert_eq!(
        (&record["connector"], &record["reference"], &record["provider"]),
        (&"vault".into(), &"vault-token".into(), &"file".into())
    );
    assert_eq!((&record["agent"], &record["grant"], &record["lease"]), (&"bot".into(), &"g".into(), &"lease-1".into()));
    // Lent once, used by each call.
    let Ok(Some(Loan { lease, .. })) = bench.fakes.loan.lock().unwrap().clone() else { panic!() };
    *bench.fakes.loan.lock().unwrap() = Ok(Some(Loan { lease, fresh: false }));
    let heard = bench.call("vault__get", "{}").await;
    heard.ran();
    assert_eq!(heard.secrets(), ["used"]);
    assert!(!bench.fakes.all_records().contains(SECRET));
}

#[tokio::test]
async fn without_the_credential_nothing_is_made_ready() {
    let bench = Bench::new();
    let failure =
        LendFailure { connector: "vault".parse().unwrap(), reference: "vault-token".to_owned(), why: "no such file".to_owned() };
    *bench.fakes.loan.lock().unwrap() = Err(failure);
    let heard = bench.call("vault__get", "{}").await;
    heard.refused("arm", Outcome::Denied, "credential_unavailable");
    assert_eq!(heard.text(), "UNAVAILABLE: connector vault has no credential now. Not executed.");
    assert_eq!(heard.decision()["detail"], "the credential `vault-token` for connector `vault` can't be lent: no such file");
    *bench.fakes.loan.lock().unwrap() = Ok(None);
    let heard = bench.call("vault__get", "{}").await;
    heard.refused("arm", Outcome::InternalError, "internal");
    assert_eq!(bench.fakes.count("ready"), 0);
}

#[tokio::test]
async fn a_server_that_is_not_ready_or_offers_another_tool_gets_nothing() {
    let drifted = ConnectFailure::Drifted { connector: "tickets".to_owned(), tool: "tickets__get".to_owned() };
    for (failure, outcome, reason) in [
        (ConnectFailure::Start("no such file".to_owned()), Outcome::DownstreamError, "connector_unavailable"),
        (ConnectFailure::Resting { why: "x".to_owned(), retry_ms: 9 }, Outcome::DownstreamError, "connector_unavailable"),
        (ConnectFailure::Handshake("x".to_owned()), Outcome::DownstreamError, "connector_unavailable"),
        (drifted, Outcome::Denied, "tool_drifted"),
    ] {
        let bench = Bench::new();
        *bench.fakes.readiness.lock().unwrap() = Err(failure.clone());
        let heard = bench.call("tickets__get", "{}").await;
        heard.refused("arm", outcome, reason);
        assert_eq!(heard.text(), "UNAVAILABLE: connector tickets does not answer now. Not executed.");
        assert_eq!(heard.decision()["detail"], format!("connector `tickets`: {failure}"));
        assert_eq!(bench.grant().standing().calls, 0);
    }
}

/// Invariant 7: what a server printed before it ended may hold the secret that it was started with.
#[tokio::test]
async fn the_secret_in_a_failure_to_start_stays_out_of_the_record() {
    let bench = Bench::new();
    *bench.fakes.readiness.lock().unwrap() = Err(ConnectFailure::Start(format!("bad token {SECRET}!")));
    let heard = bench.call("vault__get", "{}").await;
    heard.refused("arm", Outcome::DownstreamError, "connector_unavailable");
    assert_eq!(heard.decision()["detail"], "connector `vault`: it does not start: bad token [redacted]!");
}

/// Invariant 9: the end of a grant does not wait for a credential to be minted or a server to start.
#[tokio::test]
async fn the_end_of_the_grant_ends_the_arming() {
    for (point, tool) in [("lend", "vault__get"), ("ready", "tickets__get")] {
        let bench = Bench::new();
        bench.fakes.block(point);
        let call = bench.spawn(tool, "{}");
        bench.fakes.reached(point, 1).await;
        bench.grant().end(GrantState::Completed);
        let heard = call.await.unwrap();
        heard.refused("arm", Outcome::Cancelled, "grant_ended");
        assert_eq!(heard.text(), "STOPPED: the task grant was completed while the call was under way. Not executed.");
        assert_eq!(bench.grant().standing().calls, 0);
    }
}
