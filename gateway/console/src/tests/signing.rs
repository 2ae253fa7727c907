//! What is signed: this, by this person, once.

use bailiwick_store::{Statement, Verdict};
use reqwest::StatusCode;

use super::{MAKER, OWN_UID, Stage, binding, soft};
use crate::LinkMaker;
use crate::{
    ProofMethod,
    webauthn::{Assertion, Expected},
};

const TO: &str = "/approvals/apr_1/decision";

fn view() -> String {
    super::desk::shown("apr_1").to_string()
}

/// The fields of the form on the page of an approval.
fn fields<'a>(token: &'a str, binding: &'a str, view: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("token", token), ("binding", binding), ("verdict", "approve"), ("view", view), ("reason", "")]
}

fn with<'a>(fields: &[(&'a str, &'a str)], name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(known, old)| (*known, if *known == name { value } else { *old })).collect()
}

fn token_of(stage: &Stage, person: &str, to: &str) -> String {
    stage.console.tokens().make(&stage.console.sessions().of(person)[0].id, to)
}

#[tokio::test]
async fn a_decision_is_signed_and_can_be_checked_by_anybody_later() {
    let stage = Stage::new().await;
    let (mut browser, mut passkey) = stage.with_passkey("ada").await;
    let (token, digest, view) = (token_of(&stage, "ada", TO), binding("apr_1").to_string(), view());
    let answer = browser.signed(TO, &fields(&token, &digest, &view), &mut passkey).await;
    assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/approvals/apr_1"));
    let decided = stage.house.decided.lock().unwrap().pop().unwrap();
    assert_eq!((decided.approval.as_str(), decided.verdict, decided.binding), ("apr_1", Verdict::Approve, binding("apr_1")));
    assert_eq!((decided.view, decided.reason, decided.allow), (Some(view.parse().unwrap()), None, None));
    assert_eq!((decided.signature.person().id.as_str(), decided.signature.method()), ("ada", ProofMethod::Passkey));
    // An auditor, with the evidence alone.
    let evidence = decided.signature.evidence().unwrap().clone();
    let shown = view.parse().unwrap();
    let said = Statement { verdict: Verdict::Approve, reason: None, view: Some(&shown), allow: None }.text();
    assert_eq!(evidence.statement, said);
    let challenge = bailiwick_store::challenge(&binding("apr_1"), &said, &soft::bytes(&evidence.nonce));
    let assertion = Assertion {
        id: soft::bytes(&evidence.credential_id),
        client_data: soft::bytes(&evidence.client_data),
        authenticator_data: soft::bytes(&evidence.authenticator_data),
        signature: soft::bytes(&evidence.signature),
        user: None,
    };
    let origin = stage.origin();
    let check = |challenge: &[u8; 32]| {
        assertion.verify(&soft::bytes(&evidence.public_key), Expected { challenge, origin: &origin, party: "localhost" })
    };
    assert!(check(challenge.as_bytes()).is_ok());
    let wider = (&[].into(), 5, 60);
    for other in [
        Statement { verdict: Verdict::Deny, reason: None, view: Some(&shown), allow: None },
        Statement { verdict: Verdict::Approve, reason: Some("x"), view: Some(&shown), allow: None },
        Statement { verdict: Verdict::Approve, reason: None, view: None, allow: None },
        Statement { verdict: Verdict::Approve, reason: None, view: Some(&shown), allow: Some(wider) },
    ] {
        let another = bailiwick_store::challenge(&binding("apr_1"), &other.text(), &soft::bytes(&evidence.nonce));
        assert!(check(another.as_bytes()).is_err(), "{other:?}");
    }
}

#[tokio::test]
async fn how_far_an_approval_goes_is_signed_and_nothing_that_no_page_shows() {
    let stage = Stage::new().await;
    let (mut browser, mut passkey) = stage.with_passkey("ada").await;
    let (token, digest, view) = (token_of(&stage, "ada", TO), binding("apr_1").to_string(), view());
    let right = fields(&token, &digest, &view);
    let wide = [right.as_slice(), &[("allow_uses", "5"), ("allow_minutes", "60")]].concat();
    let credential = "ab".repeat(32);
    let any = [wide.as_slice(), &[("allow_any", "/amount"), ("operator", credential.as_str())]].concat();
    assert_eq!(browser.post(TO, &any).await.status(), StatusCode::BAD_REQUEST, "on no page");
    let silent = [with(&right, "verdict", "deny"), vec![("operator", credential.as_str())]].concat();
    assert_eq!(browser.post(TO, &silent).await.status(), StatusCode::BAD_REQUEST, "a no without a reason");
    assert!(stage.house.decided.lock().unwrap().is_empty());
    assert_eq!(browser.signed(TO, &wide, &mut passkey).await.status(), StatusCode::SEE_OTHER);
    let decided = stage.house.decided.lock().unwrap().pop().unwrap();
    let said: serde_json::Value = serde_json::from_str(&decided.signature.evidence().unwrap().statement).unwrap();
    let allow = serde_json::json!({"any": [], "minutes": 60, "uses": 5});
    assert_eq!((&said["allow"], &said["verdict"], said["view"].as_str()), (&allow, &"approve".into(), Some(view.as_str())));
}

#[tokio::test]
async fn a_signature_is_for_this_form_of_this_session_and_counts_once() {
    let stage = Stage::new().await;
    let (mut browser, mut passkey) = stage.with_passkey("ada").await;
    let (mut other, mut of_eve) = stage.with_passkey("eve").await;
    let (mine, digest, view) = (token_of(&stage, "ada", TO), binding("apr_1").to_string(), view());
    let right = fields(&mine, &digest, &view);
    let other_view = bailiwick_schemas::canonical::Digest::of(b"another").to_string();
    let other_binding = binding("apr_2").to_string();
    // What was signed is not what is sent.
    for wrong in [
        with(&with(&right, "verdict", "deny"), "reason", "no"),
        with(&right, "view", &other_view),
        with(&right, "binding", &other_binding),
        with(&right, "reason", "because"),
        [right.as_slice(), &[("allow_uses", "5"), ("allow_minutes", "60")]].concat(),
    ] {
        let question = browser.question(TO, &right).await;
        let answer = passkey.get(&question, &stage.origin()).to_string();
        let sent = browser.post(TO, &[wrong.as_slice(), &[("assertion", &answer)]].concat()).await;
        assert_eq!(sent.status(), StatusCode::FORBIDDEN, "{wrong:?}");
        let after = browser.post(TO, &[right.as_slice(), &[("assertion", &answer)]].concat()).await;
        assert_eq!(after.status(), StatusCode::FORBIDDEN, "the question is answered by that");
    }
    // For another approval.
    let second = "/approvals/apr_2/decision";
    let of_second = token_of(&stage, "ada", second);
    let question = browser.question(TO, &right).await;
    let answer = passkey.get(&question, &stage.origin()).to_string();
    let crossed = [fields(&of_second, &digest, &view), vec![("assertion", answer.as_str())]].concat();
    assert_eq!(browser.post(second, &crossed).await.status(), StatusCode::FORBIDDEN);
    // In another session, of another person, by another's passkey.
    let question = browser.question(TO, &right).await;
    let answer = passkey.get(&question, &stage.origin()).to_string();
    let of_other = token_of(&stage, "eve", TO);
    let stolen = [fields(&of_other, &digest, &view), vec![("assertion", answer.as_str())]].concat();
    assert_eq!(other.post(TO, &stolen).await.status(), StatusCode::FORBIDDEN);
    let question = browser.question(TO, &right).await;
    let by_eve = of_eve.get(&question, &stage.origin()).to_string();
    assert_eq!(browser.post(TO, &[right.as_slice(), &[("assertion", &by_eve)]].concat()).await.status(), StatusCode::FORBIDDEN);
    // From another site; too late; and twice.
    let question = browser.question(TO, &right).await;
    let phished = passkey.get(&question, "http://evil.example").to_string();
    assert_eq!(browser.post(TO, &[right.as_slice(), &[("assertion", &phished)]].concat()).await.status(), StatusCode::FORBIDDEN);
    let question = browser.question(TO, &right).await;
    let late = passkey.get(&question, &stage.origin()).to_string();
    stage.pass(2 * 60 * 1000);
    assert_eq!(browser.post(TO, &[right.as_slice(), &[("assertion", &late)]].concat()).await.status(), StatusCode::FORBIDDEN);
    assert!(stage.house.decided.lock().unwrap().is_empty());
    let question = browser.question(TO, &right).await;
    let answer = passkey.get(&question, &stage.origin()).to_string();
    let signed = [right.as_slice(), &[("assertion", &answer)]].concat();
    assert_eq!(browser.post(TO, &signed).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.post(TO, &signed).await.status(), StatusCode::FORBIDDEN, "a replay");
    assert_eq!(stage.house.decided.lock().unwrap().len(), 1);
    assert!(stage.noted("signature_refused") >= 10);
}

#[tokio::test]
async fn a_session_alone_changes_nothing() {
    let stage = Stage::new().await;
    let (mut browser, mut passkey) = stage.with_passkey("ada").await;
    let (token, digest, view) = (token_of(&stage, "ada", TO), binding("apr_1").to_string(), view());
    let right = fields(&token, &digest, &view);
    for proof in [vec![], vec![("assertion", "")], vec![("assertion", "{}")], vec![("assertion", "x")], vec![("operator", "00")]]
    {
        assert_eq!(browser.post(TO, &[right.as_slice(), &proof].concat()).await.status(), StatusCode::FORBIDDEN, "{proof:?}");
    }
    // A login's answer is no signature.
    let mut fresh = stage.browser();
    let login = fresh.token("/login", "/login/passkey").await;
    let asked = fresh.post("/login/passkey/options", &[("token", &login)]).await.text().await.unwrap();
    let answer = passkey.get(&serde_json::from_str(&asked).unwrap(), &stage.origin()).to_string();
    assert_eq!(browser.post(TO, &[right.as_slice(), &[("assertion", &answer)]].concat()).await.status(), StatusCode::FORBIDDEN);
    // And a signature is no login.
    let question = browser.question(TO, &right).await;
    let answer = passkey.get(&question, &stage.origin()).to_string();
    let sent = fresh.post("/login/passkey", &[("token", &login), ("credential", &answer)]).await;
    assert_eq!(sent.status(), StatusCode::FORBIDDEN);
    assert!(stage.house.decided.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_operator_credential_counts_where_there_is_no_script() {
    let stage = Stage::new().await;
    let mut browser = stage.by_link("ada").await;
    let (token, digest, view) = (token_of(&stage, "ada", TO), binding("apr_1").to_string(), view());
    let right = fields(&token, &digest, &view);
    let credential = format!(" {} ", "AB".repeat(32));
    let answer = browser.post(TO, &[right.as_slice(), &[("operator", &credential)]].concat()).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let decided = stage.house.decided.lock().unwrap().pop().unwrap();
    assert_eq!((decided.signature.method(), decided.signature.evidence()), (ProofMethod::Operator, None));
    let wrong = "ac".repeat(32);
    let mut statuses = Vec::new();
    for _ in 0..22 {
        let answer = browser.post(TO, &[right.as_slice(), &[("operator", &wrong)]].concat()).await;
        statuses.push(answer.status().as_u16());
        assert!(!answer.text().await.unwrap().contains(&wrong), "it is not echoed");
    }
    assert_eq!((statuses[0], statuses[21]), (403, 429));
    // Neither this session nor anybody else is kept from using the right one.
    let answer = browser.post(TO, &[right.as_slice(), &[("operator", &credential)]].concat()).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let mut eve = stage.by_link("eve").await;
    let of_eve = token_of(&stage, "eve", TO);
    let guess = [fields(&of_eve, &digest, &view), vec![("operator", &*wrong)]].concat();
    assert_eq!(eve.post(TO, &guess).await.status(), StatusCode::FORBIDDEN, "she has tries of her own");
    let notes = format!("{:?}", stage.house.notes.lock().unwrap());
    assert!(!notes.contains(&wrong) && !notes.contains(&"ab".repeat(32)), "it is on no record");
}

#[tokio::test]
async fn a_person_decides_within_their_bounds() {
    for (who, approval, status) in [
        ("ada", "apr_1", StatusCode::SEE_OTHER),
        ("ada", "apr_shop", StatusCode::FORBIDDEN),
        ("ada", "apr_critical", StatusCode::FORBIDDEN),
        ("ada", "apr_none", StatusCode::NOT_FOUND),
        ("bob", "apr_1", StatusCode::FORBIDDEN),
        ("eve", "apr_critical", StatusCode::SEE_OTHER),
    ] {
        let stage = Stage::new().await;
        let mut browser = stage.by_link(who).await;
        let to = format!("/approvals/{approval}/decision");
        let (mine, credential) = (token_of(&stage, who, &to), "ab".repeat(32));
        let view = super::desk::shown(approval).to_string();
        let (digest, of_another) = (binding(approval).to_string(), binding("changed").to_string());
        let changed = [fields(&mine, &of_another, &view), vec![("operator", credential.as_str())]].concat();
        let answer = browser.post(&to, &changed).await.status();
        assert!(matches!(answer, StatusCode::CONFLICT | StatusCode::NOT_FOUND), "another call than the one shown: {answer}");
        let right = [fields(&mine, &digest, &view), vec![("operator", credential.as_str())]].concat();
        assert_eq!(browser.post(&to, &right).await.status(), status, "{who} {approval}");
    }
}

#[tokio::test]
async fn a_second_passkey_takes_the_first_and_the_last_one_stays() {
    let stage = Stage::new().await;
    let (mut browser, mut first) = stage.with_passkey("ada").await;
    let mut second = soft::Authenticator::new(soft::Key::rs256(), b"second");
    assert_eq!(browser.add_passkey(&mut second, &[]).await.status(), StatusCode::FORBIDDEN, "a session alone");
    let ask = token_of(&stage, "ada", "/passkeys/options");
    let question = browser.question("/passkeys/options", &[("token", &ask), ("name", "laptop")]).await;
    let proof = first.get(&question, &stage.origin()).to_string();
    let added = browser.add_passkey(&mut second, &[("assertion", &proof)]).await;
    assert_eq!(added.status(), StatusCode::SEE_OTHER, "{}", added.text().await.unwrap());
    assert_eq!(stage.browser().login(&mut second).await.status(), StatusCode::SEE_OTHER);

    let to = format!("/passkeys/{}/remove", soft::text(&first.id));
    let mine = browser.token("/passkeys", &to).await;
    assert_eq!(browser.post(&to, &[("token", &mine)]).await.status(), StatusCode::FORBIDDEN, "not without a signature");
    assert_eq!(browser.signed(&to, &[("token", &mine)], &mut second).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(stage.browser().login(&mut first).await.status(), StatusCode::FORBIDDEN, "it is gone");
    let last = format!("/passkeys/{}/remove", soft::text(b"second"));
    let mine = browser.token("/passkeys", &last).await;
    assert_eq!(browser.signed(&last, &[("token", &mine)], &mut second).await.status(), StatusCode::CONFLICT, "the last one");
    let (mut eve, _) = stage.with_passkey("eve").await;
    let forged = token_of(&stage, "eve", &last);
    let credential = "ab".repeat(32);
    let foreign = eve.post(&last, &[("token", &forged), ("operator", &credential)]).await;
    assert_eq!(foreign.status(), StatusCode::NOT_FOUND, "somebody else's");
    assert_eq!(stage.noted("passkey_removed"), 1);
}

/// A passkey is what a session by it rests on: it ends with it, wherever it is, and nobody else's does.
#[tokio::test]
async fn who_removes_a_passkey_of_their_own_is_logged_out_where_it_logged_them_in() {
    let stage = Stage::new().await;
    let (mut by_link, mut stolen) = stage.with_passkey("ada").await;
    let mut kept = soft::Authenticator::new(soft::Key::es256(), b"kept");
    let ask = token_of(&stage, "ada", "/passkeys/options");
    let question = by_link.question("/passkeys/options", &[("token", &ask), ("name", "laptop")]).await;
    let proof = stolen.get(&question, &stage.origin()).to_string();
    assert_eq!(by_link.add_passkey(&mut kept, &[("assertion", &proof)]).await.status(), StatusCode::SEE_OTHER);
    let (mut thief, mut phone, mut mine) = (stage.browser(), stage.browser(), stage.browser());
    for (browser, passkey) in [(&mut thief, &mut stolen), (&mut mine, &mut kept)] {
        assert_eq!(browser.login(passkey).await.status(), StatusCode::SEE_OTHER);
    }
    assert_eq!(phone.login(&mut stolen).await.status(), StatusCode::SEE_OTHER);
    let to = format!("/passkeys/{}/remove", soft::text(&stolen.id));
    // From one of the very sessions that end by it, too.
    let token = phone.token("/passkeys", &to).await;
    assert_eq!(phone.signed(&to, &[("token", &token)], &mut kept).await.status(), StatusCode::SEE_OTHER);
    for browser in [&mut thief, &mut phone] {
        let sent_away = browser.get("/passkeys").await;
        assert_eq!(sent_away.status(), StatusCode::SEE_OTHER);
        assert!(sent_away.headers()["location"].to_str().unwrap().starts_with("/login"));
    }
    for browser in [&mut mine, &mut by_link] {
        assert_eq!(browser.get("/passkeys").await.status(), StatusCode::OK);
    }
    let notes = stage.house.notes.lock().unwrap();
    let why = "its passkey was removed";
    let ended = notes.iter().filter(|note| note.event == "session_ended" && note.why.as_deref() == Some(why)).count();
    assert_eq!(ended, 2, "on record");
}

/// To whom a passkey traces: to who made the link of it, or of the passkey that it was added with.
#[tokio::test]
async fn a_passkey_remembers_by_whose_link_it_came_to_be() {
    let stage = Stage::new().await;
    let (mut browser, mut first) = stage.with_passkey("ada").await;
    // In the session that began last.
    let token = |to: &str| stage.console.tokens().make(&stage.console.sessions().of("ada").pop().unwrap().id, to);
    let add =
        async |browser: &mut super::Browser, name: &[u8], proof: &mut dyn FnMut(&serde_json::Value) -> (&'static str, String)| {
            let ask = token("/passkeys/options");
            let question = browser.question("/passkeys/options", &[("token", &ask), ("name", "laptop")]).await;
            let mut new = soft::Authenticator::new(soft::Key::eddsa(), name);
            let (field, proof) = proof(&question);
            assert_eq!(browser.add_passkey(&mut new, &[(field, &proof)]).await.status(), StatusCode::SEE_OTHER);
            new
        };
    let origin = stage.origin();
    add(&mut browser, b"second", &mut |question| ("assertion", first.get(question, &origin).to_string())).await;
    add(&mut browser, b"typed", &mut |_| ("operator", "ab".repeat(32))).await;
    stage.pass(1);
    let link = stage.console.recovery_link("ada", LinkMaker { name: "root", uid: 0 }).await.unwrap();
    let mut recovered = soft::Authenticator::new(soft::Key::eddsa(), b"recovered");
    let mut browser = stage.with_link(&link).await;
    assert_eq!(browser.add_passkey(&mut recovered, &[]).await.status(), StatusCode::SEE_OTHER);
    add(&mut browser, b"of root's", &mut |question| ("assertion", recovered.get(question, &origin).to_string())).await;
    let known = |id: &[u8]| stage.console.passkeys().find(id).unwrap().maker;
    let makers = [&first.id[..], b"second", b"typed", b"recovered", b"of root's"].map(known);
    assert_eq!(makers, [Some(MAKER.uid), Some(MAKER.uid), Some(OWN_UID), Some(0), Some(0)]);
    // What is signed says it, and so does the record.
    let to = "/approvals/apr_1/review";
    let mine = token(to);
    let digest = binding("apr_1").to_string();
    let fields = [("token", mine.as_str()), ("binding", &digest), ("note", "seen")];
    assert_eq!(browser.signed(to, &fields, &mut recovered).await.status(), StatusCode::SEE_OTHER);
    let reviewed = stage.house.reviewed.lock().unwrap().pop().unwrap();
    assert_eq!((reviewed.signature.maker(), &reviewed.signature.on_record()["maker"]), (Some(0), &0.into()));
    let notes = stage.house.notes.lock().unwrap();
    let added: Vec<_> =
        notes.iter().filter(|note| note.event == "passkey_added").map(|note| note.with["maker"].clone()).collect();
    assert_eq!(added, [1000, 1000, 990, 0, 0].map(serde_json::Value::from));
}
