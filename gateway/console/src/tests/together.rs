//! Several calls decided at once; and what was let go in an emergency, looked at.

use bailiwick_policy::Band;
use bailiwick_store::{Statement, Verdict, batch_digest};
use reqwest::StatusCode;

use super::{Stage, binding, soft};
use crate::{
    sign::BATCH,
    webauthn::{Assertion, Expected},
};

struct List {
    token: String,
    ids: String,
    bindings: String,
    view: String,
}

/// The list of these, as its page has it for this person.
fn list(stage: &Stage, person: &str, approvals: &[&str]) -> List {
    List {
        token: stage.console.tokens().make(&stage.console.sessions().of(person)[0].id, BATCH),
        ids: approvals.join(" "),
        bindings: approvals.iter().map(|id| binding(id).to_string()).collect::<Vec<_>>().join(" "),
        view: super::desk::shown_together(approvals).to_string(),
    }
}

impl List {
    fn fields<'a>(&'a self, verdict: &'a str, reason: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("token", self.token.as_str()),
            ("ids", self.ids.as_str()),
            ("bindings", self.bindings.as_str()),
            ("view", self.view.as_str()),
            ("verdict", verdict),
            ("reason", reason),
        ]
    }
}

#[tokio::test]
async fn several_are_signed_as_one_list_and_can_be_checked_by_anybody_later() {
    let stage = Stage::new().await;
    let (mut browser, mut passkey) = stage.with_passkey("ada").await;
    let page = browser.get("/batch?id=apr_1&id=apr_2&id=apr_1").await.text().await.unwrap();
    assert!(page.contains("Approve all 2, each once") && page.contains(&binding("apr_2").to_string()), "{page}");
    let right = list(&stage, "ada", &["apr_1", "apr_2"]);
    assert!(page.contains(&right.view), "what is shown is what is signed");
    let answer = browser.signed(BATCH, &right.fields("approve", ""), &mut passkey).await;
    assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(super::desk::LOOKED_AROUND.get(), 0, "a hundred on one page read no trail a hundred times");
    browser.get("/approvals/apr_1").await;
    assert_eq!(super::desk::LOOKED_AROUND.get(), 1);
    let decided = stage.house.batches.lock().unwrap().pop().unwrap();
    let both = [("apr_1".to_owned(), binding("apr_1")), ("apr_2".to_owned(), binding("apr_2"))];
    assert_eq!((decided.approvals.as_slice(), decided.verdict), (both.as_slice(), Verdict::Approve));
    // An auditor, with the evidence alone: it is over exactly this list, in this order.
    let evidence = decided.signature.evidence().unwrap().clone();
    let shown = right.view.parse().unwrap();
    let said = Statement { verdict: Verdict::Approve, reason: None, view: Some(&shown), allow: None }.text();
    let assertion = Assertion {
        id: soft::bytes(&evidence.credential_id),
        client_data: soft::bytes(&evidence.client_data),
        authenticator_data: soft::bytes(&evidence.authenticator_data),
        signature: soft::bytes(&evidence.signature),
        user: None,
    };
    let origin = stage.origin();
    let check = |bindings: &[&str]| {
        let digests: Vec<_> = bindings.iter().map(|id| binding(id)).collect();
        let challenge = bailiwick_store::challenge(&batch_digest(&digests), &said, &soft::bytes(&evidence.nonce));
        let expected = Expected { challenge: challenge.as_bytes(), origin: &origin, party: "localhost" };
        assertion.verify(&soft::bytes(&evidence.public_key), expected).is_ok()
    };
    assert!(check(&["apr_1", "apr_2"]));
    assert!(!check(&["apr_1"]) && !check(&["apr_2", "apr_1"]) && !check(&["apr_1", "apr_2", "apr_shop"]));
}

#[tokio::test]
async fn a_list_that_is_another_one_than_was_signed_or_shown_decides_nothing() {
    let stage = Stage::new().await;
    let (mut browser, mut passkey) = stage.with_passkey("ada").await;
    let credential = "ab".repeat(32);
    let right = list(&stage, "ada", &["apr_1", "apr_2"]);
    // Signed for the one list, sent for another.
    for other in [&["apr_1"][..], &["apr_2", "apr_1"], &["apr_1", "apr_2", "apr_shop"]] {
        let question = browser.question(BATCH, &right.fields("approve", "")).await;
        let answer = passkey.get(&question, &stage.origin()).to_string();
        let wrong = list(&stage, "ada", other);
        let sent = browser.post(BATCH, &[wrong.fields("approve", ""), vec![("assertion", &answer)]].concat()).await;
        assert_eq!(sent.status(), StatusCode::FORBIDDEN, "{other:?}");
    }
    // One is gone, or another call, or was shown otherwise: it says which.
    let gone = list(&stage, "ada", &["apr_1", "apr_none"]);
    let another =
        List { bindings: format!("{} {}", binding("apr_1"), binding("apr_9")), ..list(&stage, "ada", &["apr_1", "apr_2"]) };
    let unseen = List { view: binding("x").to_string(), ..list(&stage, "ada", &["apr_1", "apr_2"]) };
    for (list, why) in [(gone, "apr_none is gone"), (another, "is of another call"), (unseen, "is otherwise by now")] {
        let sent = browser.post(BATCH, &[list.fields("approve", ""), vec![("operator", &credential)]].concat()).await;
        let (status, text) = (sent.status(), sent.text().await.unwrap());
        assert_eq!(status, StatusCode::CONFLICT, "{text}");
        assert!(text.contains("Nothing was decided") && text.contains(why), "{why}: {text}");
    }
    // Not theirs, critical, twice, of another length, or a no without a reason.
    let shop = list(&stage, "ada", &["apr_1", "apr_shop"]);
    let critical = list(&stage, "ada", &["apr_1", "apr_critical"]);
    let twice = list(&stage, "ada", &["apr_1", "apr_1"]);
    let short = List { bindings: binding("apr_1").to_string(), ..list(&stage, "ada", &["apr_1", "apr_2"]) };
    for (list, verdict, status) in [
        (&shop, "approve", StatusCode::FORBIDDEN),
        (&critical, "approve", StatusCode::FORBIDDEN),
        (&twice, "approve", StatusCode::BAD_REQUEST),
        (&short, "approve", StatusCode::BAD_REQUEST),
        (&right, "deny", StatusCode::BAD_REQUEST),
    ] {
        let sent = browser.post(BATCH, &[list.fields(verdict, ""), vec![("operator", &credential)]].concat()).await;
        assert_eq!(sent.status(), status, "{}", list.ids);
    }
    let (mut viewer, _) = stage.with_passkey("bob").await;
    let of_bob = list(&stage, "bob", &["apr_1", "apr_2"]);
    let sent = viewer.post(BATCH, &[of_bob.fields("approve", ""), vec![("operator", &credential)]].concat()).await;
    assert_eq!(sent.status(), StatusCode::FORBIDDEN);
    assert!(stage.house.batches.lock().unwrap().is_empty());
    // Without a script, with the credential: a no of all of them.
    let sent = browser.post(BATCH, &[right.fields("deny", "not now"), vec![("operator", &credential)]].concat()).await;
    assert_eq!(sent.status(), StatusCode::SEE_OTHER);
    let decided = stage.house.batches.lock().unwrap().pop().unwrap();
    assert_eq!((decided.verdict, decided.reason.as_deref()), (Verdict::Deny, Some("not now")));
}

#[test]
fn a_critical_call_and_what_is_over_stand_apart() {
    let plain = super::desk::view("apr_1");
    assert_eq!(crate::pages::apart(&plain), None);
    let critical = crate::views::ApprovalView { band: Band::Critical, ..plain.clone() };
    assert!(crate::pages::apart(&critical).unwrap().contains("K7-42 is critical"));
    let settled = crate::views::Settled { what: "Denied by bob.".to_owned(), at_ms: None, why: None };
    let over = crate::views::ApprovalView { settled: Some(settled), state: "denied".to_owned(), ..plain };
    assert!(crate::pages::apart(&over).unwrap().contains("K7-42 is denied: Denied by bob."));
}

#[tokio::test]
async fn a_second_look_is_signed_and_says_what_was_found() {
    const TO: &str = "/approvals/apr_1/review";
    let stage = Stage::new().await;
    let (mut browser, mut passkey) = stage.with_passkey("ada").await;
    let token = stage.console.tokens().make(&stage.console.sessions().of("ada")[0].id, TO);
    let (digest, other) = (binding("apr_1").to_string(), binding("apr_2").to_string());
    let fields = |binding, note| vec![("token", token.as_str()), ("binding", binding), ("note", note)];
    assert_eq!(browser.post(TO, &fields(&digest, "fine")).await.status(), StatusCode::FORBIDDEN, "unsigned");
    assert_eq!(browser.signed(TO, &fields(&digest, " "), &mut passkey).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(browser.signed(TO, &fields(&other, "fine"), &mut passkey).await.status(), StatusCode::CONFLICT);
    let (mut viewer, mut of_bob) = stage.with_passkey("bob").await;
    let token_of_bob = stage.console.tokens().make(&stage.console.sessions().of("bob")[0].id, TO);
    let by_bob = [("token", token_of_bob.as_str()), ("binding", digest.as_str()), ("note", "fine")];
    assert_eq!(viewer.signed(TO, &by_bob, &mut of_bob).await.status(), StatusCode::FORBIDDEN, "a viewer only looks");
    assert!(stage.house.reviewed.lock().unwrap().is_empty());
    let sent = browser.signed(TO, &fields(&digest, "the customer was paid once"), &mut passkey).await;
    assert_eq!((sent.status(), sent.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/reviews"));
    let reviewed = stage.house.reviewed.lock().unwrap().pop().unwrap();
    assert_eq!((reviewed.approval.as_str(), reviewed.note.as_str()), ("apr_1", "the customer was paid once"));
    assert_eq!(reviewed.signature.person().id, "ada");
    assert_eq!(browser.get("/reviews").await.status(), StatusCode::OK);
}
