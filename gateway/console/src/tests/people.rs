//! What admins take away from others; and where a refusal stands.

use reqwest::StatusCode;

use super::{Stage, soft};

#[tokio::test]
async fn an_admin_ends_sessions_and_removes_passkeys_of_others_signed_and_on_record() {
    let stage = Stage::new().await;
    let (mut ada, mut of_ada) = stage.with_passkey("ada").await;
    let (mut eve, mut of_eve) = stage.with_passkey("eve").await;
    assert_eq!(ada.get("/people").await.status(), StatusCode::FORBIDDEN, "it takes an admin");
    let page = eve.get("/people").await.text().await.unwrap();
    let session = stage.console.sessions().of("ada")[0].id.clone();
    let key = soft::text(&stage.console.passkeys().of("ada")[0].id);
    let (end, remove) = (format!("/people/ada/sessions/{session}/end"), format!("/people/ada/passkeys/{key}/remove"));
    assert!(page.contains(&end) && page.contains(&remove) && page.contains("in memory alone"), "{page}");
    let token = |person: &str, to: &str| stage.console.tokens().make(&stage.console.sessions().of(person)[0].id, to);
    // Unsigned, without a reason, by others, or of what is not there: nothing happens.
    let credential = "ab".repeat(32);
    for (to, reason, proof, status) in [
        (&end, "lost", "", StatusCode::FORBIDDEN),
        (&remove, "lost", "", StatusCode::FORBIDDEN),
        (&end, "", credential.as_str(), StatusCode::BAD_REQUEST),
        (&remove, "", credential.as_str(), StatusCode::BAD_REQUEST),
        (&end.replace("/ada/", "/bob/"), "lost", credential.as_str(), StatusCode::NOT_FOUND),
        (&remove.replace("/ada/", "/bob/"), "lost", credential.as_str(), StatusCode::NOT_FOUND),
    ] {
        let token = token("eve", to);
        let sent = eve.post(to, &[("token", &token), ("reason", reason), ("operator", proof)]).await;
        assert_eq!(sent.status(), status, "{to} {reason}");
    }
    let own = "/people/eve/passkeys/AA/remove";
    let token_of_own = token("eve", own);
    let sent = eve.post(own, &[("token", &token_of_own), ("reason", "x"), ("operator", &credential)]).await;
    assert_eq!(sent.status(), StatusCode::CONFLICT, "her own go elsewhere");
    for to in [&end, &remove] {
        let token = token("ada", to);
        let sent = ada.post(to, &[("token", &token), ("reason", "x"), ("operator", &credential)]).await;
        assert_eq!(sent.status(), StatusCode::FORBIDDEN, "{to}");
    }
    assert_eq!((stage.noted("passkey_removed"), stage.noted("session_closed")), (0, 0));
    assert_eq!(ada.get("/").await.status(), StatusCode::OK);
    let mine = token("eve", &end);
    let sent = eve.signed(&end, &[("token", &mine), ("reason", "the laptop is lost")], &mut of_eve).await;
    assert_eq!(sent.status(), StatusCode::SEE_OTHER);
    assert_eq!(ada.get("/").await.status(), StatusCode::SEE_OTHER, "she is logged out");
    // Whoever has the key may be logged in by it: that ends with it.
    ada.login(&mut of_ada).await;
    assert_eq!(ada.get("/").await.status(), StatusCode::OK);
    let mine = token("eve", &remove);
    let sent = eve.signed(&remove, &[("token", &mine), ("reason", "the laptop is lost")], &mut of_eve).await;
    assert_eq!((sent.status(), stage.console.passkeys().of("ada").len()), (StatusCode::SEE_OTHER, 0));
    assert_eq!(ada.get("/").await.status(), StatusCode::SEE_OTHER, "she is logged out");
    let notes = stage.house.notes.lock().unwrap();
    for event in ["passkey_removed", "session_closed"] {
        let note = notes.iter().find(|note| note.event == event).unwrap();
        assert_eq!((note.by.as_str(), note.about.as_str(), note.why.as_deref()), ("eve", "ada", Some("the laptop is lost")));
        assert_eq!(note.with["proof"]["method"], "passkey");
    }
}

#[tokio::test]
async fn what_is_refused_stands_in_the_frame_of_who_is_logged_in() {
    let stage = Stage::new().await;
    let (mut ada, _) = stage.with_passkey("ada").await;
    for path in ["/nowhere", "/audit", "/approvals/none"] {
        let page = ada.get(path).await.text().await.unwrap();
        assert!(page.contains("<nav class=\"menu\"") && page.contains("action=\"/logout\""), "{path}: {page}");
    }
    let unsigned = ada.post("/approvals/apr_1/decision", &[("token", "x")]).await;
    assert_eq!(unsigned.status(), StatusCode::FORBIDDEN);
    assert!(unsigned.text().await.unwrap().contains("<nav class=\"menu\""));
    assert!(ada.get("/passkeys").await.text().await.unwrap().contains("<nav class=\"menu\""));
    let stranger = stage.browser().get("/nowhere").await.text().await.unwrap();
    assert!(!stranger.contains("<nav") && stranger.contains("there is no such page"), "{stranger}");
}
