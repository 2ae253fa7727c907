//! What is lent: a credential for one grant and one connector.

mod place;
mod prover;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bailiwick_policy::Kind;
use bailiwick_schemas::names::ConnectorId;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use self::place::{Fitted, Place};
pub use self::prover::Prover;
use crate::{
    catalogue::{Tool, World},
    grant::LiveGrant,
    ports::Later,
    redact::{NeedleFault, Needles},
};

/// The name of the part that a credential of one secret has.
const SECRET: &str = "secret";

/// The largest part of a credential, bytes.
const LARGEST_PART: usize = 64 * 1024;

/// What a provider gave: the parts of one credential by name, such as `username` and `password`. The parts are wiped when it is dropped.
#[derive(Default)]
pub struct Material {
    parts: BTreeMap<Cow<'static, str>, Part>,
    prover: Option<Arc<dyn Prover>>,
}

enum Part {
    /// Kept out of whatever comes back.
    Secret(SecretString),
    /// Of use only beside a secret: a user's name, the id of a key.
    Plain(String),
}

impl Material {
    /// A credential of one secret, under the name `secret`.
    pub fn of(secret: SecretString) -> Self {
        Self::default().with_secret(SECRET, secret)
    }

    /// With this secret part.
    #[must_use]
    pub fn with_secret(mut self, name: impl Into<Cow<'static, str>>, secret: SecretString) -> Self {
        self.parts.insert(name.into(), Part::Secret(secret));
        self
    }

    /// Bound to a key: each request with it carries a proof of this.
    #[must_use]
    pub fn with_prover(mut self, prover: Arc<dyn Prover>) -> Self {
        self.prover = Some(prover);
        self
    }

    /// With this part that is no secret.
    #[must_use]
    pub fn with_plain(mut self, name: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        self.parts.insert(name.into(), Part::Plain(text.into()));
        self
    }

    /// The names of the parts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(AsRef::as_ref)
    }

    fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter(|(_, part)| matches!(part, Part::Secret(_))).map(|(name, _)| name.as_ref())
    }

    /// What every part must be, to be of use in an environment variable, a file or a header.
    fn check(&self) -> Result<(), LeaseFault> {
        let is_unfit = |name: &str| {
            self.text(name).is_none_or(|text| text.trim().is_empty() || text.len() > LARGEST_PART || text.contains('\0'))
        };
        self.names().find(|name| is_unfit(name)).map_or(Ok(()), |name| Err(LeaseFault::Unfit(name.to_owned())))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.parts.get(name).map(|part| match part {
            Part::Secret(secret) => secret.expose_secret(),
            Part::Plain(text) => text.as_str(),
        })
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.parts.keys()).finish()
    }
}

/// A text with places for the parts of a credential: `postgresql://{username}:{password}@localhost/app`. `{{` and `}}` stand for the
/// braces themselves. In a URL a part is percent-encoded; where it would end the quotes, the word or the line that it stands in, nothing is lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Part(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// A brace without its counterpart.
    #[error("a `{{` or `}}` stands alone: write `{{{{` or `}}}}` for the brace itself")]
    Brace,
    /// What stands between braces is no name.
    #[error("`{{{0}}}` names no part: a name has small letters and `_`")]
    Name(String),
    /// It has no place at all, and so would carry no secret.
    #[error("it has no place for a part of the credential: write `{{secret}}` where the secret goes")]
    NoPart,
}

impl Template {
    /// The secret alone.
    pub fn secret() -> Self {
        Self(vec![Piece::Part(SECRET.to_owned())])
    }

    /// This text, and then the secret.
    pub fn prefixed(prefix: &str) -> Self {
        let mut template = Self::secret();
        if !prefix.is_empty() {
            template.0.insert(0, Piece::Text(prefix.to_owned()));
        }
        template
    }

    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text.chars().peekable());
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.next_if_eq(&c).is_some() => plain.push(c),
                '}' => return Err(TemplateFault::Brace),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => return Err(TemplateFault::Brace),
                        }
                    }
                    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                        return Err(TemplateFault::Name(name));
                    }
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Part(name));
                }
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        if pieces.iter().any(|piece| matches!(piece, Piece::Part(_))) { Ok(Self(pieces)) } else { Err(TemplateFault::NoPart) }
    }

    /// The names of the parts that it has places for.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Part(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    fn filled<'t>(&'t self, material: &'t Material) -> Result<SecretString, LeaseFault> {
        let fitted = |(index, piece): (usize, &'t Piece)| match piece {
            Piece::Text(text) => Ok(Fitted::Whole(text)),
            Piece::Part(name) => {
                let part = material.text(name).ok_or_else(|| LeaseFault::NoPart {
                    part: name.clone(),
                    given: material.names().collect::<Vec<_>>().join("`, `"),
                })?;
                let place = Place::at(&self.0, index);
                place.fit(part).map_err(|without| LeaseFault::Breaks { part: name.clone(), without })
            }
        };
        let pieces: Vec<Fitted<'_>> = self.0.iter().enumerate().map(fitted).collect::<Result<_, _>>()?;
        // In one piece of the right size: a buffer that grew would leave copies behind.
        let mut text = String::with_capacity(pieces.iter().map(|piece| piece.as_str().len()).sum());
        for piece in pieces {
            text.push_str(piece.as_str());
        }
        Ok(SecretString::from(text.into_boxed_str()))
    }
}

/// How a server gets what is lent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injection {
    /// A child process: what it starts with.
    Child {
        /// Variables of its environment, each with what it is set to.
        env: Vec<(String, Template)>,
        /// Variables that are set to the path of a file in memory, each with what that file holds.
        files: Vec<(String, Template)>,
    },
    /// A server over HTTP: a header of each request.
    Header {
        /// The header's name, lower case.
        name: String,
        /// What it is set to.
        text: Template,
    },
}

impl Injection {
    /// The secret in this variable of a child's environment.
    pub fn env(name: impl Into<String>) -> Self {
        Self::Child { env: vec![(name.into(), Template::secret())], files: Vec::new() }
    }

    /// The secret in this header, after this prefix.
    pub fn header(name: impl Into<String>, prefix: &str) -> Self {
        Self::Header { name: name.into(), text: Template::prefixed(prefix) }
    }

    /// Every template that it has.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let (many, one) = match self {
            Self::Child { env, files } => (Some(env.iter().chain(files).map(|(_, template)| template)), None),
            Self::Header { text, .. } => (None, Some(text)),
        };
        many.into_iter().flatten().chain(one)
    }
}

/// What a credential is good for: the narrowest that a task can do its work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// To read.
    Read,
    /// For all else too.
    Write,
}

impl Access {
    /// The word for it in configuration and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// What a tool of this kind needs.
    pub fn of(kind: Kind) -> Self {
        if kind == Kind::Read { Self::Read } else { Self::Write }
    }

    /// The most that the tools of this connector could need which the grant, and each above it, gives.
    pub fn given(world: &World, grant: &LiveGrant, connector: &ConnectorId) -> Self {
        let given = |tool: &Tool| grant.chain().all(|grant| grant.terms().covers(tool));
        let features = world.features.values().filter(|feature| feature.connector.id == *connector);
        let mut own = world.shelves.get(connector).into_iter().flat_map(|shelf| shelf.tools()).chain(features);
        if own.any(|tool| Self::of(tool.kind) == Self::Write && given(tool)) { Self::Write } else { Self::Read }
    }
}

/// A lent credential: for one grant and one connector.
pub struct Lease {
    /// Its id, for the record.
    pub id: String,
    /// The provider, for the record.
    pub provider: &'static str,
    /// What was lent (the name of a role, a variable, a path), never a value.
    pub reference: String,
    /// What it is good for.
    pub access: Access,
    expires_at_ms: AtomicU64,
    is_over: AtomicBool,
    taken_back: CancellationToken,
    delivery: Delivery,
    prover: Option<Arc<dyn Prover>>,
    secrets: Vec<SecretString>,
    needles: Needles,
}

/// What is handed over, each with its name.
enum Delivery {
    Child { env: Vec<(String, SecretString)>, files: Vec<(String, SecretString)> },
    Header(String, SecretString),
}

/// What a lease is made of.
#[derive(Debug)]
pub struct LeaseTerms {
    /// See [`Lease::id`].
    pub id: String,
    /// See [`Lease::provider`].
    pub provider: &'static str,
    /// See [`Lease::reference`].
    pub reference: String,
    /// How the server gets it.
    pub injection: Injection,
    /// Until when it is lent, unix milliseconds: never longer than the grant.
    pub expires_at_ms: u64,
    /// See [`Lease::access`].
    pub access: Access,
}

/// Why a credential can't be lent as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseFault {
    /// It is so short that it can't be told from ordinary text, and so could not be kept out of results.
    #[error(transparent)]
    Needle(#[from] NeedleFault),
    /// `inject` has a place for what the credential does not have.
    #[error("`inject` has a place for `{part}`, and the credential has `{given}`: correct `inject`")]
    NoPart {
        /// What is asked for.
        part: String,
        /// What there is.
        given: String,
    },
    /// A part would break out of where it is put.
    #[error(
        "`inject` puts the part `{part}` where it has to be without {without}, and it is not: put it elsewhere, as into a file of its own"
    )]
    Breaks {
        /// The part.
        part: String,
        /// What it may not have.
        without: &'static str,
    },
    /// It has no secret at all.
    #[error("the credential has no secret in it")]
    NoSecret,
    /// Its server would get none of its secrets.
    #[error("`inject` has no place for a secret of the credential (`{0}`): correct `inject`")]
    NotUsed(String),
    /// It is bound to a key, and its server is a child process.
    #[error("the credential is bound to a key, and a child process can't prove that it has it: lend it one that is not bound")]
    NoProof,
    /// A part can't be carried.
    #[error("the part `{0}` of the credential is empty, has NUL in it, or more than 65536 bytes")]
    Unfit(String),
}

impl Lease {
    /// Lends this on these terms.
    pub fn new(terms: LeaseTerms, material: Material) -> Result<Self, LeaseFault> {
        let LeaseTerms { id, provider, reference, injection, expires_at_ms, access } = terms;
        material.check()?;
        let named: Vec<String> = injection.templates().flat_map(Template::parts).map(str::to_owned).collect();
        let filled = |texts: Vec<(String, Template)>| -> Result<Vec<(String, SecretString)>, LeaseFault> {
            texts.into_iter().map(|(name, text)| Ok((name, text.filled(&material)?))).collect()
        };
        let delivery = match injection {
            Injection::Child { env, files } => Delivery::Child { env: filled(env)?, files: filled(files)? },
            Injection::Header { name, text } => Delivery::Header(name, text.filled(&material)?),
        };
        let secret_names: Vec<&str> = material.secret_names().collect();
        if !secret_names.is_empty() && !secret_names.iter().any(|name| named.iter().any(|named| named == name)) {
            return Err(LeaseFault::NotUsed(secret_names.join("`, `")));
        }
        if material.prover.is_some() && !matches!(delivery, Delivery::Header(..)) {
            return Err(LeaseFault::NoProof);
        }
        let secrets: Vec<SecretString> = material
            .parts
            .into_values()
            .filter_map(|part| match part {
                Part::Secret(secret) => Some(secret),
                Part::Plain(_) => None,
            })
            .collect();
        if secrets.is_empty() {
            return Err(LeaseFault::NoSecret);
        }
        let needles = Needles::of(&secrets)?;
        let expires_at_ms = AtomicU64::new(expires_at_ms);
        let (is_over, taken_back) = (AtomicBool::new(false), CancellationToken::new());
        Ok(Self {
            id,
            provider,
            reference,
            access,
            expires_at_ms,
            is_over,
            taken_back,
            delivery,
            prover: material.prover,
            secrets,
            needles,
        })
    }

    /// Until when it is lent, unix milliseconds: never longer than the grant.
    pub fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms.load(Ordering::Relaxed)
    }

    /// It was given back: nothing new is begun with it.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Somebody took it back: nothing new is begun with it, and what is under way with it ends.
    pub fn take_back(&self) {
        self.end();
        self.taken_back.cancel();
    }

    /// Cancelled when somebody took it back. One that merely ended, as another took its place, may be used to the end of its calls.
    pub fn taken_back(&self) -> &CancellationToken {
        &self.taken_back
    }

    /// Whether it was given back.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// It was renewed: its issuer lets it live until then, unix milliseconds.
    pub fn live_until(&self, expires_at_ms: u64) {
        self.expires_at_ms.store(expires_at_ms, Ordering::Relaxed);
    }

    /// The variables of a child's environment with what they are set to; none where it is lent in a header.
    pub fn variables(&self) -> Option<&[(String, SecretString)]> {
        match &self.delivery {
            Delivery::Child { env, .. } => Some(env),
            Delivery::Header(..) => None,
        }
    }

    /// The variables that are set to the paths of files in memory, with what those hold; none where it is lent in a header.
    pub fn files(&self) -> Option<&[(String, SecretString)]> {
        match &self.delivery {
            Delivery::Child { files, .. } => Some(files),
            Delivery::Header(..) => None,
        }
    }

    /// The header of each request and what it is set to; none where it is lent to a child process.
    pub fn header(&self) -> Option<(&str, &SecretString)> {
        match &self.delivery {
            Delivery::Header(name, text) => Some((name, text)),
            Delivery::Child { .. } => None,
        }
    }

    /// What proves with each request that it is ours, where it is bound to a key.
    pub fn prover(&self) -> Option<&Arc<dyn Prover>> {
        self.prover.as_ref()
    }

    /// Its secrets.
    pub fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// What others said, for the record: without the secret of the lease, where there is one.
    pub(crate) fn kept_out(lease: Option<&Self>, words: &str) -> String {
        lease.map_or_else(|| words.to_owned(), |lease| lease.needles.redact(words).0)
    }

    /// Whether a secret of it, in any form that is looked for, is in these bytes.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.needles.found_in(bytes)
    }

    /// The text without its secrets, in any form that is looked for.
    pub fn redacted(&self, text: &str) -> String {
        self.needles.redact(text).0
    }

    /// What to look for in results.
    pub(crate) fn needles(&self) -> &Needles {
        &self.needles
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, provider, reference, expires_at_ms, access, .. } = self;
        let mut shown = f.debug_struct("Lease");
        shown.field("id", id).field("provider", provider).field("reference", reference);
        shown.field("expires_at_ms", expires_at_ms).field("access", access).finish_non_exhaustive()
    }
}

/// Why nothing could be lent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the credential `{reference}` for connector `{connector}` can't be lent: {why}")]
pub struct LendFailure {
    /// For which connector.
    pub connector: ConnectorId,
    /// Which one.
    pub reference: String,
    /// Why not, for the operator.
    pub why: String,
}

/// For what a credential is wanted.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Under which grant.
    pub grant: &'a Arc<LiveGrant>,
    /// For which connector.
    pub connector: &'a ConnectorId,
    /// What this call needs of it.
    pub access: Access,
    /// The most that its grant could need: asked only where one is made.
    pub most: &'a (dyn Fn() -> Access + Send + Sync),
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// The broker of credentials.
pub trait Credentials: Send + Sync {
    /// The credential of a connector for a grant; `None` where the connector needs none. Told is whether it was
    /// lent anew or is the one that this grant already has.
    fn lend<'a>(&'a self, wanted: Wanted<'a>) -> Later<'a, Result<Option<Loan>, LendFailure>>;

    /// This was seen in what its server sent: it is lent no more, and taken back where its issuer can do that. Never waits.
    fn leaked(&self, grant: &Arc<LiveGrant>, connector: &ConnectorId, lease: &Lease);

    /// Whatever is lent under this grant by now, each with its connector: no server may show what was lent for another one. Never waits.
    fn lent(&self, grant: &LiveGrant) -> Vec<(ConnectorId, Arc<Lease>)>;
}

/// A credential, as handed to a call.
#[derive(Debug, Clone)]
pub struct Loan {
    /// The lease.
    pub lease: Arc<Lease>,
    /// Whether it was lent just now.
    pub fresh: bool,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn material() -> Material {
        Material::default().with_plain("username", "v-task-1").with_secret("password", "canary-0123456789".to_owned().into())
    }

    fn terms(injection: Injection) -> LeaseTerms {
        let (id, reference) = ("lease-1".to_owned(), "tickets-ro".to_owned());
        LeaseTerms { id, provider: "openbao", reference, injection, expires_at_ms: 1, access: Access::Read }
    }

    fn child(text: &str) -> Injection {
        Injection::Child { env: vec![("DSN".to_owned(), Template::parse(text).unwrap())], files: Vec::new() }
    }

    #[test]
    fn the_parts_of_a_credential_stand_where_the_template_has_them() {
        let lease = Lease::new(terms(child("pg://{username}:{password}@h/{{x}}")), material()).unwrap();
        let (name, value) = lease.variables().unwrap().first().unwrap();
        assert_eq!((name.as_str(), value.expose_secret()), ("DSN", "pg://v-task-1:canary-0123456789@h/{x}"));
        assert!(lease.header().is_none() && lease.is_in(b"..canary-0123456789..") && !lease.is_in(b"v-task-1"));
        let shown = format!("{lease:?} {:?}", material());
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_place_for_what_is_not_there_lends_nothing() {
        let fault = Lease::new(terms(child("{secret}")), material()).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "`inject` has a place for `secret`, and the credential has `password`, `username`: correct `inject`"
        );
        let only_plain = Material::default().with_plain("username", "someone");
        assert_eq!(Lease::new(terms(child("{username}")), only_plain).unwrap_err(), LeaseFault::NoSecret);
    }

    #[test]
    fn a_part_stays_where_the_template_has_it() {
        let with = |text: &str, part: &str| {
            let material = Material::default().with_plain("host", "[::1]").with_secret("password", part.to_owned().into());
            let lease = Lease::new(terms(child(text)), material)?;
            Ok::<_, LeaseFault>(lease.variables().unwrap().first().unwrap().1.expose_secret().to_owned())
        };
        let hostile = "x@evil.example/?a=b#c %2F'\"\\";
        let spelled = "x%40evil.example%2F%3Fa%3Db%23c%20%252F%27%22%5C";
        for (text, expected) in [
            ("{password}", hostile.to_owned()),
            ("pg://u:{password}@{host}/app", format!("pg://u:{spelled}@[::1]/app")),
            ("{{\"url\":\"https://h/?t={password}\"}}", format!("{{\"url\":\"https://h/?t={spelled}\"}}")),
            ("see https://h/ {password}", format!("see https://h/ {hostile}")),
            ("Bearer {password}", format!("Bearer {hostile}")),
        ] {
            assert_eq!(with(text, hostile).unwrap(), expected, "{text}");
        }
        let key = "-----BEGIN KEY-----\nMII0123456789\n-----END KEY-----";
        assert_eq!(with("{password}\n{host}\n", key).unwrap(), format!("{key}\n[::1]\n"));
        for (text, part) in [
            ("{{\"password\":\"{password}\"}}", "01234567\",\"admin\":\"yes"),
            ("{{\"password\":\"{password}\"}}", "01234567\\"),
            ("{{\"key\":\"{password}\"}}", key),
            ("password = '{password}'", "01234567' OR 'a"),
            ("host=db password={password} port=1", "01234567 host=evil"),
            ("password={password}", "01234567\nadmin=yes"),
            ("Bearer {password}", "01234567\r\nX-Admin: yes"),
        ] {
            let fault = with(text, part).unwrap_err();
            assert!(matches!(&fault, LeaseFault::Breaks { part, .. } if part == "password"), "{text}: {fault}");
            assert!(!fault.to_string().contains("01234567"), "{fault}");
        }
        let lease = Lease::new(
            terms(child("pg://u:{password}@h")),
            Material::default().with_secret("password", "canary/+%-0123".to_owned().into()),
        );
        let lease = lease.unwrap();
        let env = lease.variables().unwrap().first().unwrap().1.expose_secret();
        assert!(env.contains("%2F") && lease.is_in(env.as_bytes()), "what it is spelled as is looked for too");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, fault) in [
            ("plain", TemplateFault::NoPart),
            ("", TemplateFault::NoPart),
            ("{{secret}}", TemplateFault::NoPart),
            ("{secret", TemplateFault::Brace),
            ("secret}", TemplateFault::Brace),
            ("{}", TemplateFault::Name(String::new())),
            ("{Secret}", TemplateFault::Name("Secret".to_owned())),
            ("{a{b}", TemplateFault::Name("a{b".to_owned())),
        ] {
            assert_eq!(Template::parse(text), Err(fault), "{text}");
        }
        assert_eq!(Template::parse("Bearer {secret}").unwrap(), Template::prefixed("Bearer "));
    }
}
