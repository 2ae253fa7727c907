use bailiwick_pipeline::ids::AgentId;
use secrecy::ExposeSecret as _;

use super::{HOUR, NOW, crashed, folder, open, terms};
use crate::{AGENT_TOKEN_MS, CALL_TOKEN_MS, Tokens, tokens::Bearer};

fn bot() -> AgentId {
    "bot".parse().unwrap()
}

#[tokio::test]
async fn all_tokens_of_an_agent_are_revoked_at_once_and_for_good() {
    let data = folder();
    let store = open(&data);
    let tokens = Tokens::load(&store).unwrap();
    let other: AgentId = "other".parse().unwrap();
    for agent in [&bot(), &bot(), &other] {
        tokens.issue_agent(agent, AGENT_TOKEN_MS, NOW).await.unwrap();
    }
    let first = tokens.list(Some(&bot()))[0].id.clone();
    tokens.revoke(&first, NOW).await.unwrap();
    let (revoked, stored) = tokens.revoke_of(&|agent| *agent == bot(), NOW + 1);
    let second = tokens.list(Some(&bot())).into_iter().find(|token| token.id != first).unwrap().id;
    assert_eq!(revoked, [(bot(), vec![second])].into());
    let good = |tokens: &Tokens| tokens.list(None).into_iter().filter(|token| token.is_good(NOW + 1)).map(|token| token.agent);
    assert_eq!(good(&tokens).collect::<Vec<_>>(), std::slice::from_ref(&other), "before it is stored");
    stored.await.unwrap();
    assert_eq!(good(&Tokens::load(&open(&crashed(&data))).unwrap()).collect::<Vec<_>>(), [other]);
    let (revoked, stored) = tokens.revoke_of(&|agent| *agent == bot(), NOW + 2);
    assert!(revoked.is_empty() && stored.await.is_ok());
}

#[tokio::test]
async fn tokens_have_their_form_and_only_their_hash_is_stored() {
    let data = folder();
    let store = open(&data);
    let tokens = Tokens::load(&store).unwrap();
    let token = tokens.issue_agent(&bot(), AGENT_TOKEN_MS, NOW).await.unwrap();
    let text = token.expose_secret();
    let id = &tokens.list(None)[0].id;
    let secret = text.strip_prefix(&format!("ba_{id}_")).unwrap();
    assert_eq!(secret.len(), 43);
    assert!(secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    let grant_token = tokens.issue_grant(&terms("g_1.x", "bot")).await.unwrap();
    assert_eq!(grant_token.expose_secret().strip_prefix("tg_g_1.x_").unwrap().len(), 43);
    for file in ["state.db", "state.db-wal"] {
        let bytes = std::fs::read(data.path().join(file)).unwrap();
        assert!(!bytes.windows(43).any(|window| window == secret.as_bytes()), "{file}");
    }
    assert!(!format!("{token:?} {tokens:?}").contains(secret));
}

#[tokio::test]
async fn several_tokens_live_until_they_expire_or_are_revoked() {
    let data = folder();
    let store = open(&data);
    let tokens = Tokens::load(&store).unwrap();
    let long = tokens.issue_agent(&bot(), AGENT_TOKEN_MS, NOW).await.unwrap();
    let short = tokens.issue_agent(&bot(), CALL_TOKEN_MS, NOW).await.unwrap();
    let foreign = tokens.issue_agent(&"other".parse().unwrap(), AGENT_TOKEN_MS, NOW).await.unwrap();
    assert_eq!(tokens.list(Some(&bot())).len(), 2);
    assert_eq!(tokens.bearer(&long, NOW), Some(Bearer::Agent(bot())));
    assert_eq!(tokens.bearer(&short, NOW + CALL_TOKEN_MS - 1), Some(Bearer::Agent(bot())));
    assert_eq!(tokens.bearer(&short, NOW + CALL_TOKEN_MS), None);
    assert_eq!(tokens.bearer(&"ba_x_y".to_owned().into(), NOW), None);
    assert_eq!(tokens.bearer(&String::new().into(), NOW), None);

    let id = tokens.list(Some(&bot()))[0].id.clone();
    let which = tokens.list(None).iter().position(|token| token.id == id).unwrap();
    assert!(tokens.revoke(&id, NOW + 1).await.unwrap());
    assert!(!tokens.revoke(&id, NOW + 2).await.unwrap());
    assert_eq!(tokens.list(None)[which].revoked_at_ms, Some(NOW + 1));
    drop((tokens, store));

    let tokens = Tokens::load(&open(&data)).unwrap();
    assert_eq!(tokens.list(None).iter().find(|token| token.id == id).unwrap().revoked_at_ms, Some(NOW + 1));
    let good = [&long, &short].into_iter().filter(|token| tokens.bearer(token, NOW).is_some()).count();
    assert_eq!(good, 1);
    assert!(tokens.bearer(&foreign, NOW).is_some());
}

#[tokio::test]
async fn the_sweep_forgets_what_is_long_over() {
    let data = folder();
    let store = open(&data);
    let tokens = Tokens::load(&store).unwrap();
    tokens.issue_agent(&bot(), CALL_TOKEN_MS, NOW).await.unwrap();
    let long = tokens.issue_agent(&bot(), AGENT_TOKEN_MS, NOW).await.unwrap();
    let grant = terms("g", "bot");
    let of_grant = tokens.issue_grant(&grant).await.unwrap();
    tokens.sweep(NOW + HOUR, |_, _| true).await.unwrap();
    assert_eq!(tokens.list(None).len(), 2);
    tokens.sweep(NOW + 26 * HOUR, |_, _| true).await.unwrap();
    assert_eq!(tokens.list(None).len(), 1);
    assert!(tokens.bearer(&of_grant, NOW).is_some());
    tokens.sweep(NOW + 26 * HOUR, |id, revision| *id != grant.id || revision != 1).await.unwrap();
    assert_eq!(tokens.bearer(&of_grant, NOW), None);
    drop((tokens, store));
    let tokens = Tokens::load(&open(&data)).unwrap();
    assert!(tokens.bearer(&long, NOW + HOUR).is_some());
    assert_eq!((tokens.list(None).len(), tokens.bearer(&of_grant, NOW)), (1, None));
}
