use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bailiwick_identity::Issuers;
use bailiwick_pipeline::{
    ports::{Identities as _, IdentityFailure},
    principal::{AuthMethod, ClientCertificate, Credential, Presented, Principal, Standing},
};
use secrecy::SecretString;
use tempfile::TempDir;

use super::{HOUR, NOW, StoppedClock, agent, agents, clock, folder, open, terms};
use crate::{EndAs, Handles, LiveGrants, LiveIdentities, Tokens};

struct House {
    _data: TempDir,
    tokens: Arc<Tokens>,
    grants: Arc<LiveGrants>,
    identities: LiveIdentities,
    clock: Arc<StoppedClock>,
}

fn house() -> House {
    let data = folder();
    let store = open(&data);
    let tokens = Arc::new(Tokens::load(&store).unwrap());
    let grants = Arc::new(LiveGrants::load(&store, &[]).unwrap());
    let clock = clock(NOW);
    let issuers = Arc::new(Issuers::new("https://gateway.example.com/mcp", NOW));
    let proofs = (Arc::clone(&tokens), Handles::new().0);
    let identities = LiveIdentities::new(agents(), proofs, issuers, Arc::clone(&grants), clock.clone());
    House { _data: data, tokens, grants, identities, clock }
}

impl House {
    async fn identify(&self, credential: Credential) -> Result<Principal, IdentityFailure> {
        self.identities.identify(&Presented { credential, grant: None }).await
    }

    async fn bearer(&self, token: &SecretString) -> Result<Principal, IdentityFailure> {
        self.identify(Credential::Bearer(token.clone())).await
    }

    async fn peer(&self, uid: u32, pid: Option<i32>, agent: Option<&str>) -> Result<Principal, IdentityFailure> {
        self.identify(Credential::Peer { uid, pid, agent: agent.map(str::to_owned) }).await
    }
}

#[tokio::test]
async fn nothing_and_nonsense_prove_nothing() {
    let house = house();
    assert_eq!(house.identify(Credential::Absent).await.unwrap_err(), IdentityFailure::Absent);
    for text in ["", "x", "ba_", "tg_", "ba_abc_0000000000000000000000000000000000000000000"] {
        assert_eq!(house.bearer(&text.to_owned().into()).await.unwrap_err(), IdentityFailure::Unknown, "{text}");
    }
}

#[tokio::test]
async fn an_agents_token_proves_the_agent_until_it_expires() {
    let house = house();
    let token = house.tokens.issue_agent(&"bot".parse().unwrap(), HOUR, NOW).await.unwrap();
    let principal = house.bearer(&token).await.unwrap();
    assert_eq!((principal.agent.id.as_str(), principal.method), ("bot", AuthMethod::AgentToken));
    assert_eq!((principal.grant, principal.instance), (None, None));
    house.clock.0.store(NOW + HOUR, Ordering::SeqCst);
    assert_eq!(house.bearer(&token).await.unwrap_err(), IdentityFailure::Unknown);
}

#[tokio::test]
async fn a_disabled_or_unregistered_agent_is_refused() {
    let house = house();
    let token = house.tokens.issue_agent(&"bot".parse().unwrap(), HOUR, NOW).await.unwrap();
    let mut disabled = agent("bot", &[1000]);
    disabled.agent.disabled = true;
    house.identities.set_agents(vec![disabled]);
    assert_eq!(house.bearer(&token).await.unwrap_err(), IdentityFailure::Disabled("bot".parse().unwrap()));
    assert!(matches!(house.peer(1000, None, Some("bot")).await, Err(IdentityFailure::Disabled(_))));
    house.identities.set_agents(vec![]);
    assert!(matches!(house.bearer(&token).await, Err(IdentityFailure::Unregistered(_))));
}

#[tokio::test]
async fn a_grants_token_proves_its_agent_for_this_issue_of_it_only() {
    let house = house();
    let mut wanted = terms("triage", "bot");
    wanted.from_config = true;
    house.grants.sync_config(vec![wanted.clone()], NOW).await.unwrap();
    let grant = house.grants.entry(&wanted.id).unwrap().grant;
    let token = house.tokens.issue_grant(grant.terms()).await.unwrap();
    let principal = house.bearer(&token).await.unwrap();
    assert_eq!((principal.agent.id.as_str(), principal.method), ("bot", AuthMethod::GrantToken));
    assert_eq!(principal.grant, Some(wanted.id.clone()));

    wanted.purpose = "something else".to_owned();
    house.grants.sync_config(vec![wanted.clone()], NOW).await.unwrap();
    assert_eq!(house.bearer(&token).await.unwrap_err(), IdentityFailure::Unknown);

    let grant = house.grants.entry(&wanted.id).unwrap().grant;
    let token = house.tokens.issue_grant(grant.terms()).await.unwrap();
    house.grants.end(&wanted.id, EndAs::Revoked, "ann", None, NOW).await.unwrap();
    assert_eq!(house.bearer(&token).await.unwrap_err(), IdentityFailure::Unknown);
}

#[tokio::test]
async fn the_token_of_a_grant_that_is_not_live_proves_nothing() {
    let house = house();
    for (name, how) in [("completed", Some(EndAs::Completed)), ("revoked", Some(EndAs::Revoked)), ("expired", None)] {
        let grant = house.grants.create(terms(name, "bot"), NOW).await.unwrap();
        let token = house.tokens.issue_grant(grant.terms()).await.unwrap();
        assert!(house.bearer(&token).await.is_ok(), "{name}");
        match how {
            Some(how) => drop(house.grants.end(&grant.terms().id, how, "ann", None, NOW).await.unwrap()),
            // Nobody has swept yet: its time alone ends it.
            None => house.clock.0.store(grant.terms().expires_at_ms, Ordering::SeqCst),
        }
        assert_eq!(house.bearer(&token).await.unwrap_err(), IdentityFailure::Unknown, "{name}");
    }
}

#[tokio::test]
async fn a_grants_token_needs_its_agent() {
    let house = house();
    let grant = house.grants.create(terms("triage", "bot"), NOW).await.unwrap();
    let token = house.tokens.issue_grant(grant.terms()).await.unwrap();
    house.identities.set_agents(vec![agent("other", &[])]);
    assert!(matches!(house.bearer(&token).await, Err(IdentityFailure::Unregistered(_))));
}

#[tokio::test]
async fn a_peer_is_believed_for_its_own_agents_only() {
    let house = house();
    let principal = house.peer(1000, Some(4711), Some("bot")).await.unwrap();
    assert_eq!((principal.agent.id.as_str(), principal.method), ("bot", AuthMethod::Peer));
    assert_eq!(principal.instance.as_deref(), Some("pid-4711"));
    assert_eq!(house.peer(1000, None, Some("bot")).await.unwrap().instance, None);
    for (uid, agent) in
        [(1000, Some("other")), (2000, Some("bot")), (0, Some("bot")), (1000, None), (1000, Some("BOT")), (1000, Some("nobody"))]
    {
        let failure = house.peer(uid, Some(1), agent).await.unwrap_err();
        assert!(matches!(failure, IdentityFailure::Unregistered(_)), "{uid} {agent:?}: {failure}");
    }
}

/// A certificate that is good until it is not.
#[derive(Debug, Default)]
struct GoodUntil(AtomicBool);

impl Standing for GoodUntil {
    fn is_good(&self, _: u64) -> Result<(), String> {
        if self.0.load(Ordering::SeqCst) { Err("its bundle is gone".to_owned()) } else { Ok(()) }
    }
}

fn certificate(id: &str, standing: &Arc<GoodUntil>, bearer: Option<&SecretString>) -> Credential {
    let standing = Arc::clone(standing) as Arc<dyn Standing>;
    let certificate = ClientCertificate::new(id.to_owned(), [0xab; 32], standing);
    Credential::Certificate { certificate: Arc::new(certificate), bearer: bearer.cloned() }
}

#[tokio::test]
async fn a_certificate_proves_the_agent_with_its_id_as_long_as_it_is_good() {
    let (house, standing) = (house(), Arc::new(GoodUntil::default()));
    let present = |id: &str| certificate(id, &standing, None);
    let principal = house.identify(present("spiffe://example.org/agent/bot")).await.unwrap();
    assert_eq!((principal.agent.id.as_str(), principal.method), ("bot", AuthMethod::X509Svid));
    assert_eq!(principal.instance, Some(format!("x509-{}", "ab".repeat(16))));
    for id in ["spiffe://example.org/agent/nobody", "spiffe://example.org/agent/bot2", "bot", ""] {
        assert!(matches!(house.identify(present(id)).await, Err(IdentityFailure::Unregistered(_))), "{id}");
    }
    let mut disabled = agent("bot", &[]);
    disabled.agent.disabled = true;
    house.identities.set_agents(vec![disabled]);
    let failure = house.identify(present("spiffe://example.org/agent/bot")).await.unwrap_err();
    assert_eq!(failure, IdentityFailure::Disabled("bot".parse().unwrap()));
    house.identities.set_agents(vec![agent("bot", &[])]);
    standing.0.store(true, Ordering::SeqCst);
    let failure = house.identify(present("spiffe://example.org/agent/bot")).await.unwrap_err();
    assert!(matches!(failure, IdentityFailure::Outlived { .. }), "{failure}");
}

#[tokio::test]
async fn a_token_beside_a_certificate_is_the_same_agents() {
    let (house, standing) = (house(), Arc::new(GoodUntil::default()));
    let token = house.tokens.issue_agent(&"bot".parse().unwrap(), HOUR, NOW).await.unwrap();
    let grant = house.grants.create(terms("triage", "bot"), NOW).await.unwrap();
    let granted = house.tokens.issue_grant(grant.terms()).await.unwrap();
    let own = "spiffe://example.org/agent/bot";
    let principal = house.identify(certificate(own, &standing, Some(&token))).await.unwrap();
    assert_eq!((principal.method, principal.grant), (AuthMethod::AgentToken, None));
    let principal = house.identify(certificate(own, &standing, Some(&granted))).await.unwrap();
    assert_eq!((principal.method, principal.grant), (AuthMethod::GrantToken, Some("triage".parse().unwrap())));
    assert!(principal.instance.is_some_and(|instance| instance.starts_with("x509-")));
    for token in [&token, &granted] {
        let failure = house.identify(certificate("spiffe://example.org/agent/other", &standing, Some(token))).await.unwrap_err();
        assert_eq!(failure, IdentityFailure::Mixed("other".parse().unwrap()));
        let stranger = house.identify(certificate("spiffe://example.org/agent/nobody", &standing, Some(token))).await;
        assert!(matches!(stranger, Err(IdentityFailure::Unregistered(_))));
    }
    let nonsense = house.identify(certificate(own, &standing, Some(&"ba_x".to_owned().into()))).await.unwrap_err();
    assert_eq!(nonsense, IdentityFailure::Unknown, "a token that is none is not made good by a certificate");
}
