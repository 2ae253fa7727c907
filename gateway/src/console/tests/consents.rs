//! What a browser comes back with from an issuer.

use bailiwick_console::{Connections as _, Person, Returned, Role, Viewer};
use bailiwick_credentials::Who;
use bailiwick_trail::Stream;

use super::*;
use crate::{
    consenting::{
        self,
        kit::{Issuer, until},
    },
    console::connections::GatewayConnections,
};

const OWNER: &str = "demo@localhost";

/// A gateway with a connector that wants consents, and somebody who has begun one: them, and what they come back with.
async fn begun(folder: &Path, issuer: &Issuer, viewer: &Viewer) -> (Stage, Returned) {
    let config = format!("{}\n{}", bailiwick_config::DEMO, issuer.config(&[("one", "/mcp")]));
    let stage = Stage::of(folder, &config).await;
    let of = consenting::wanted(&stage.runtime).remove(0);
    let who = Who { owner: OWNER.to_owned(), person: viewer.person.id.clone(), is_admin: true, session: viewer.session.clone() };
    let begun = stage.runtime.consents.begin(&of, who, &format!("{}/connections/callback", stage.origin)).await.unwrap();
    let asked: BTreeMap<String, String> = url::Url::parse(&begun.url).unwrap().query_pairs().into_owned().collect();
    let place = asked["redirect_uri"].rsplit('/').next().map(str::to_owned);
    let returned =
        Returned { code: Some("code-1".to_owned()), state: asked.get("state").cloned(), iss: None, error: None, place };
    (stage, returned)
}

fn viewer(roles: &[Role]) -> Viewer {
    let roles = roles.iter().copied().collect();
    let person = Person { id: "eve".to_owned(), owns: [].into(), roles, approves: bailiwick_console::Bounds::default() };
    Viewer { person, session: "session-of-eve".to_owned() }
}

fn given(runtime: &Runtime) -> usize {
    let records = runtime.recorder.trail().reader().records(Stream::Admin, bailiwick_trail::Start::First).unwrap();
    let is_given =
        |record: &bailiwick_trail::Record| record.text("event") == Some("consent_given") && record.text("result") == Some("done");
    records.map(Result::unwrap).filter(is_given).count()
}

#[tokio::test]
async fn a_browser_that_hangs_up_leaves_no_consent_that_is_not_on_record() {
    let (folder, issuer, viewer) = (tempfile::tempdir().unwrap(), Issuer::start().await, viewer(&[Role::Admin]));
    let (stage, returned) = begun(folder.path(), &issuer, &viewer).await;
    let held = issuer.hold().await;
    let connections = GatewayConnections(Arc::downgrade(&stage.runtime));
    let coming = tokio::spawn(async move { connections.come_back(&viewer, returned).await.is_ok() });
    until(|| issuer.came("/token").len() == 1).await;
    coming.abort();
    assert!(coming.await.unwrap_err().is_cancelled());
    drop(held);
    until(|| given(&stage.runtime) == 1).await;
    let of = consenting::wanted(&stage.runtime).remove(0);
    assert_eq!(stage.runtime.consents.to(&of).unwrap().len(), 1);
}

#[tokio::test]
async fn whoever_may_no_more_when_they_come_back_has_no_code_redeemed() {
    let (folder, issuer, viewer) = (tempfile::tempdir().unwrap(), Issuer::start().await, viewer(&[Role::Viewer]));
    let (stage, returned) = begun(folder.path(), &issuer, &viewer).await;
    let connections = GatewayConnections(Arc::downgrade(&stage.runtime));
    assert!(connections.come_back(&viewer, returned).await.is_err());
    assert!(issuer.came("/token").is_empty() && given(&stage.runtime) == 0);
}

#[tokio::test]
async fn an_answer_is_looked_at_wherever_an_issuer_sends_it() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::start().await;
    let mut stage = Stage::of(folder.path(), &format!("{}\n{}", bailiwick_config::DEMO, issuer.config(&[("one", "/mcp")]))).await;
    for path in ["/connections/callback", "/connections/callback/AAAA"] {
        assert_eq!(stage.get(&format!("{path}?state=guess&code=x")).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    stage.log_in().await;
    for path in ["/connections/callback", "/connections/callback/AAAA"] {
        let (status, page) = stage.get(&format!("{path}?state=guess&code=code-of-somebody")).await;
        assert_eq!(status, StatusCode::CONFLICT, "{path}");
        assert!(page.contains("this session began no such consent") && !page.contains("code-of-somebody"), "{page}");
    }
}
