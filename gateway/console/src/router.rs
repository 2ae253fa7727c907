//! The console, wired: what it is made of, and what is where.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use axum::{
    Router, middleware,
    routing::{get, post},
};
use bailiwick_store::{Passkey, Passkeys, UseFault};
use http::HeaderMap;
use serde_json::json;

use crate::{
    challenge::Challenges,
    connections, decide,
    desk::Desk,
    events::Listeners,
    guard,
    house::{House, Note},
    link::{self, LinkMaker, LinkTerms, Links},
    login,
    login_state::LoginStates,
    oidc::{self, Oidc},
    pages, passkey, people,
    person::{Person, Viewer},
    random,
    refused::Refused,
    session::{Brought, Ended, LoginMethod, Session, SessionLimits, Sessions},
    sign,
    site::{Site, cookie},
    token::FormTokens,
    tries::{Tries, TriesOf},
    webauthn::{Assertion, Expected},
};

/// The console.
pub struct Console {
    desk: Arc<dyn Desk>,
    house: Arc<dyn House>,
    passkeys: Arc<Passkeys>,
    people: ArcSwap<Vec<Person>>,
    site: Site,
    sessions: Sessions,
    links: Links,
    challenges: Challenges,
    tokens: FormTokens,
    logins: LoginStates,
    /// Of strangers.
    tries: Tries,
    /// Of the operator credential, by session.
    credential_tries: TriesOf,
    /// What people did who are logged in, by person: strangers don't hide it.
    known_tries: TriesOf,
    oidc: Option<Oidc>,
    listeners: Listeners,
}

/// What a console is made of.
pub struct ConsoleParts {
    /// What is shown and done.
    pub desk: Arc<dyn Desk>,
    /// The time, the record, and decisions.
    pub house: Arc<dyn House>,
    /// The passkeys of people.
    pub passkeys: Arc<Passkeys>,
    /// The people.
    pub people: Vec<Person>,
    /// By which name it is reached.
    pub site: Site,
    /// How long sessions live.
    pub limits: SessionLimits,
    /// Where people may log in too.
    pub oidc: Option<Oidc>,
}

impl Console {
    /// A console of these parts. It serves nothing by itself: see [`router`].
    pub fn new(parts: ConsoleParts) -> Result<Arc<Self>, Refused> {
        let ConsoleParts { desk, house, passkeys, people, site, limits, oidc } = parts;
        Ok(Arc::new(Self {
            desk,
            house,
            passkeys,
            people: ArcSwap::from_pointee(people),
            site,
            sessions: Sessions::new(limits),
            links: Links::default(),
            challenges: Challenges::default(),
            tokens: FormTokens::new(random::bytes()?),
            logins: LoginStates::new(random::bytes()?),
            tries: Tries::default(),
            credential_tries: TriesOf::default(),
            known_tries: TriesOf::default(),
            oidc,
            listeners: Listeners::default(),
        }))
    }

    /// What is shown and done.
    pub fn desk(&self) -> &Arc<dyn Desk> {
        &self.desk
    }

    /// The gateway, as far as the door needs it.
    pub fn house(&self) -> &Arc<dyn House> {
        &self.house
    }

    /// By which name it is reached.
    pub fn site(&self) -> &Site {
        &self.site
    }

    pub(crate) fn passkeys(&self) -> &Passkeys {
        &self.passkeys
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    pub(crate) fn tokens(&self) -> &FormTokens {
        &self.tokens
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    pub(crate) fn oidc(&self) -> Option<&Oidc> {
        self.oidc.as_ref()
    }

    pub(crate) fn logins(&self) -> &LoginStates {
        &self.logins
    }

    pub(crate) fn credential_tries(&self) -> &TriesOf {
        &self.credential_tries
    }

    pub(crate) fn tries(&self) -> &Tries {
        &self.tries
    }

    /// The person of this id.
    pub fn person(&self, id: &str) -> Option<Person> {
        self.people.load().iter().find(|person| person.id == id).cloned()
    }

    /// The ids of all people.
    pub fn people(&self) -> Vec<String> {
        self.people.load().iter().map(|person| person.id.clone()).collect()
    }

    /// Replaces the people. Whoever is another now, or nobody any more, is logged out; passkeys of nobody are removed, so that somebody
    /// else of the same name does not have them.
    pub async fn set_people(&self, people: Vec<Person>) -> Result<(), Refused> {
        let before = self.people.swap(Arc::new(people));
        let is_other = |id: &str| {
            let was = before.iter().find(|person| person.id == id);
            self.person(id).as_ref() != was
        };
        self.links.void(is_other);
        let ended = self.sessions.end("their entry in the configuration is another one", |session| is_other(&session.person));
        self.note_ended(ended).await;
        self.remove_passkeys_of_nobody().await
    }

    /// Replaces who is whom at the identity provider. Whoever is another one there is logged out, as far as it let them in.
    pub async fn set_subjects(&self, subjects: BTreeMap<String, String>) {
        let Some(oidc) = &self.oidc else { return };
        let is_other = oidc.set_people(subjects);
        let is_meant = |session: &Session| session.method == LoginMethod::Oidc && is_other(&session.person);
        let ended = self.sessions.end("who they are at the identity provider is another one", is_meant);
        self.note_ended(ended).await;
    }

    /// Removes the passkeys of people who are not registered. To be done at the start too: the configuration may have changed meanwhile.
    pub async fn remove_passkeys_of_nobody(&self) -> Result<(), Refused> {
        for person in self.passkeys.people().into_iter().filter(|id| self.person(id).is_none()) {
            let ids: Vec<_> = self.passkeys.of(&person).into_iter().map(|passkey| passkey.id).collect();
            let with = json!({"passkeys": ids.len()});
            // In memory at once: whatever comes of the rest, they are good for nothing.
            let removed = self.passkeys.remove(ids);
            let why = Some("this person is no longer registered".to_owned());
            self.note_or_log(Note { event: "passkeys_removed", by: "the configuration".to_owned(), about: person, why, with })
                .await;
            removed.await.map_err(|fault| Refused::unavailable(fault.to_string()))?;
        }
        Ok(())
    }

    /// To which user of this machine each passkey of this person traces, the oldest first; none where nobody knows.
    pub fn makers(&self, person: &str) -> Vec<Option<u32>> {
        self.passkeys.of(person).into_iter().map(|passkey| passkey.maker).collect()
    }

    /// Whether anybody has a passkey.
    pub fn has_passkeys(&self) -> bool {
        !self.passkeys.people().is_empty()
    }

    /// The text of a link by which this person gets in once. It is kept nowhere; on record is its digest, and who made it.
    /// Whoever has no passkey adds one by it; whoever has some shows one of them for that.
    pub async fn link(&self, person: &str, by: LinkMaker<'_>) -> Result<String, Refused> {
        self.made_link(person, by, false).await
    }

    /// The same for somebody who has passkeys and can't use them: they add one by it without showing another. It is on record as that.
    pub async fn recovery_link(&self, person: &str, by: LinkMaker<'_>) -> Result<String, Refused> {
        self.made_link(person, by, true).await
    }

    async fn made_link(&self, person: &str, by: LinkMaker<'_>, recovers: bool) -> Result<String, Refused> {
        if self.person(person).is_none() {
            let help = format!("add `[[people]]` with this id; there is `{}`", self.people().join("`, `"));
            return Err(Refused::new(http::StatusCode::NOT_FOUND, format!("there is no person `{person}`"), help));
        }
        let code = random::token().map(|token| format!("{}{token}", link::BEGINS))?;
        let with = json!({"sha256": random::hex(&random::sha256(code.as_bytes())), "recovers": recovers, "uid": by.uid});
        let (event, by, about, maker) = ("login_link_made", by.name.to_owned(), person.to_owned(), by.uid);
        self.note(Note { event, by, about, why: None, with }).await?;
        self.links.keep(person, &code, LinkTerms { recovers, maker }, self.house.now_ms());
        // After the `#`: browsers keep that to themselves, so it is in no log and no Referer.
        Ok(format!("{}/login#{code}", self.site.origin()))
    }

    /// Ends what is over. To be called every few seconds.
    pub async fn sweep(&self) {
        let now_ms = self.house.now_ms();
        self.note_ended(self.sessions.sweep(now_ms)).await;
        let _minutes_over = self.credential_tries.take_unrecorded(now_ms);
        let further = [
            ("login_refused", self.tries.take_unrecorded(now_ms)),
            ("signature_refused", self.known_tries.take_unrecorded(now_ms)),
        ];
        for (event, count) in further.into_iter().filter(|(_, count)| *count > 0) {
            let (by, about) = (String::new(), "console".to_owned());
            self.note_or_log(Note { event, by, about, why: None, with: json!({"further": count}) }).await;
        }
    }

    /// Whether this person's session is still open: asked by what stays open, such as a stream of events, before each thing that it says.
    pub fn is_open(&self, viewer: &Viewer) -> bool {
        let session = self.sessions.by_id(&viewer.session, self.house.now_ms());
        session.and_then(|session| self.person_in(&session)).as_ref() == Some(&viewer.person)
    }

    /// Who has sent this, if they are logged in: for what the gateway serves beside the pages.
    pub async fn viewer(&self, headers: &HeaderMap) -> Option<Viewer> {
        self.session(headers).await.map(|(viewer, _)| viewer)
    }

    /// Who has sent this, by the session's cookie.
    pub(crate) async fn session(&self, headers: &HeaderMap) -> Option<(Viewer, Session)> {
        let token = cookie(headers, &self.site.session_cookie())?;
        let session = match self.sessions.look(token, self.house.now_ms()) {
            Ok(session) => session,
            Err(ended) => {
                self.note_ended(ended.into_iter().collect()).await;
                return None;
            }
        };
        let person = self.person_in(&session)?;
        Some((Viewer { person, session: session.id.clone() }, session))
    }

    /// The person of a session, with the roles that they have in it.
    fn person_in(&self, session: &Session) -> Option<Person> {
        let mut person = self.person(&session.person)?;
        if let Some(only) = &session.roles {
            person.roles.retain(|role| only.contains(role));
        }
        Some(person)
    }

    /// Opens a session, on record first. Returns what `Set-Cookie` says.
    pub(crate) async fn open(&self, person: &Person, method: LoginMethod, brought: Brought) -> Result<String, Refused> {
        let recovers = brought.enrols.is_some_and(|enrols| enrols.link.recovers);
        let (token, session) = Sessions::prepare(&person.id, method, brought, self.house.now_ms())?;
        let with = json!({"method": method.as_str(), "session": session.id, "recovers": recovers});
        let (id, passkey) = (session.id.clone(), session.passkey.clone());
        self.note(Note { event: "login", by: person.id.clone(), about: person.id.clone(), why: None, with }).await?;
        let made_room = self.sessions.begin(&token, session)?;
        self.note_ended(made_room.into_iter().collect()).await;
        // It may have been removed while this was put on record: what ended its sessions then did not see this one.
        if passkey.is_some_and(|passkey| self.passkeys.find(&passkey).is_none()) {
            self.note_ended(self.sessions.end("its passkey was removed", |session| session.id == id)).await;
            return Err(Refused::forbidden("this passkey was removed meanwhile", "log in with another one"));
        }
        let whole_s = self.sessions.whole().as_secs();
        Ok(self.site.set_cookie(&self.site.session_cookie(), Some(&token), whole_s))
    }

    /// Holds an assertion against a passkey; what the passkey counts goes on. The error is for people to read.
    pub(crate) async fn verify(&self, assertion: &Assertion, passkey: &Passkey, expected: Expected<'_>) -> Result<(), String> {
        let said = assertion.verify(&passkey.cose, expected).map_err(|fault| fault.to_string())?;
        if assertion.user.as_ref().is_some_and(|user| *user != passkey::handle_of(&passkey.person)) {
            return Err("the passkey was made for somebody else".to_owned());
        }
        let backup = (said.is_backup_eligible, said.is_backed_up);
        let used = self.passkeys.used(&passkey.id, said.count, backup, self.house.now_ms()).await;
        if let Err(fault @ UseFault::Copied { said, known }) = &used {
            let with = json!({"passkey": passkey.name, "said": said, "known": known});
            let (by, about) = (passkey.person.clone(), passkey.person.clone());
            self.note_or_log(Note { event: "passkey_copied", by, about, why: Some(fault.to_string()), with }).await;
        }
        used.map(drop).map_err(|fault| fault.to_string())
    }

    /// Puts it on record: what can't be, does not happen.
    pub(crate) async fn note(&self, note: Note) -> Result<(), Refused> {
        self.house.note(note).await.map_err(|fault| Refused::unavailable(fault.to_string()))
    }

    /// Puts on record what has happened already.
    async fn note_or_log(&self, note: Note) {
        let event = note.event;
        if let Err(fault) = self.house.note(note).await {
            tracing::error!(%fault, event, "something at the console could not be put on record");
        }
    }

    pub(crate) async fn note_ended(&self, ended: Vec<Ended>) {
        for Ended { id, person, why } in ended {
            let (with, why) = (json!({"session": id}), Some(why.to_owned()));
            self.note_or_log(Note { event: "session_ended", by: String::new(), about: person, why, with }).await;
        }
    }

    /// Puts a failure on record, within bounds: whoever fails may be a stranger. Each who is known has bounds of their own.
    pub(crate) async fn note_failure(&self, event: &'static str, by: &str, about: &str, why: &str) {
        let now_ms = self.house.now_ms();
        let is_recorded = if by.is_empty() { self.tries.is_recorded(now_ms) } else { self.known_tries.is_recorded(by, now_ms) };
        if is_recorded {
            let about = about.chars().take(80).collect();
            self.note_or_log(Note { event, by: by.to_owned(), about, why: Some(why.to_owned()), with: json!({}) }).await;
        }
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("site", &self.site).finish_non_exhaustive()
    }
}

/// Everything that the console serves, behind the guard: its pages, and what the gateway serves beside them, which asks for itself who
/// may.
pub fn router(console: Arc<Console>, beside: Router) -> Router {
    Router::new()
        .route("/login", get(login::show))
        .route("/login/link", post(login::by_link))
        .route("/login/passkey/options", post(login::ask_passkey))
        .route("/login/passkey", post(login::by_passkey))
        .route("/login/oidc", get(oidc::begin))
        .route(oidc::CALLBACK, get(oidc::come_back))
        .route("/logout", post(login::logout))
        .route("/sign", post(sign::ask))
        .route("/passkeys", get(passkey::show))
        .route("/passkeys/options", post(passkey::ask))
        .route("/passkeys/add", post(passkey::add))
        .route("/passkeys/{id}/remove", post(passkey::remove))
        .route("/sessions/{id}/end", post(login::end_session))
        .route("/approvals/{id}/decision", post(decide::decide))
        .route("/approvals/{id}/review", post(decide::review))
        .route(sign::BATCH, post(decide::decide_batch))
        .route("/connections", get(connections::show))
        .route("/connections/begin", post(connections::begin))
        .route("/connections/end", post(connections::end))
        .route(connections::CALLBACK, get(connections::come_back))
        .route(connections::CALLBACK_OF_ONE, get(connections::come_back))
        .route("/people", get(people::show))
        .route("/people/{person}/passkeys/{id}/remove", post(people::remove_passkey))
        .route("/people/{person}/sessions/{id}/end", post(people::end_session))
        .route("/passkey.js", get(login::script))
        .merge(pages::routes())
        .fallback(async || Refused::unknown())
        .method_not_allowed_fallback(async || {
            let help = "what changes something is sent as a form";
            Refused::new(http::StatusCode::METHOD_NOT_ALLOWED, "this is not done so", help)
        })
        .with_state(Arc::clone(&console))
        .merge(beside)
        .layer(middleware::from_fn_with_state(console, guard::guard))
}
