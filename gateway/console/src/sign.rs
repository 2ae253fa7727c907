//! Proof that a person wants exactly this: a passkey's signature over it, or the operator credential beside it.
//!
//! A form that changes something goes to its own place with what proves it. A page's script has it signed first: it sends the same fields to
//! `/sign`, which answers with a question made of them; the authenticator's answer goes into the form as `assertion`. Without a script a
//! person types the operator credential as `operator`. Whatever came, it is held against the fields that arrive with it.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State};
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{Evidence, Statement, Verdict};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    challenge::{PATIENCE_MS, Purpose},
    fields::Fields,
    person::Person,
    posted::{Posted, TOKEN},
    random::{self, are_equal, sha256},
    refused::Refused,
    router::Console,
    session::Session,
    webauthn::{Assertion, Expected},
};

/// The field with the authenticator's answer.
pub const ASSERTION: &str = "assertion";
/// The field with the operator credential.
pub const OPERATOR: &str = "operator";
/// The field, sent to `/sign` only, with the place that the form goes to.
pub const TO: &str = "to";

/// How something was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofMethod {
    /// A passkey of the person signed it.
    Passkey,
    /// The operator credential was beside it.
    Operator,
}

impl ProofMethod {
    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Operator => "operator",
        }
    }
}

/// Who has signed, and how that is proven. Made here alone, after it was checked.
#[derive(Debug)]
pub struct Signature {
    person: Person,
    session: String,
    method: ProofMethod,
    evidence: Option<Evidence>,
    maker: Option<u32>,
}

impl Signature {
    /// Who.
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// In which session: its public id.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// How it is proven.
    pub fn method(&self) -> ProofMethod {
        self.method
    }

    /// What the passkey signed.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// The user of this machine to whom what was signed with traces: who made the link by which the passkey came to be, or whose file the
    /// operator credential is. None where nobody knows.
    pub fn maker(&self) -> Option<u32> {
        self.maker
    }

    /// The same for a record: what anybody needs to check it.
    pub fn on_record(&self) -> Value {
        json!({"method": self.method.as_str(), "session": self.session, "evidence": self.evidence, "maker": self.maker})
    }
}

/// What is wanted, as far as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// A decision of an approval.
    Decision(DecisionWanted),
    /// A decision of several at once.
    Batch(BatchWanted),
    /// Any other change: where the form goes, and what is in it.
    Change { to: String, fields: Vec<(String, String)> },
}

/// A decision, as the form has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecisionWanted {
    pub(crate) approval: String,
    pub(crate) binding: Digest,
    pub(crate) verdict: Verdict,
    pub(crate) reason: Option<String>,
    pub(crate) view: Option<Digest>,
    pub(crate) allow: Option<Allow>,
}

/// Where a form goes that decides several at once.
pub(crate) const BATCH: &str = "/batch/decision";

/// So many are decided at once at most: what nobody can read is not decided.
pub(crate) const BATCH_MOST: usize = 50;

/// A decision of several at once, as the form has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchWanted {
    /// By id, and the exact call of each, in order.
    pub(crate) approvals: Vec<(String, Digest)>,
    pub(crate) verdict: Verdict,
    pub(crate) reason: Option<String>,
    pub(crate) view: Option<Digest>,
}

/// How far calls like the approved one may go, as the form has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allow {
    /// The arguments that may have any value, by JSON pointer.
    pub any: BTreeSet<String>,
    /// How many such calls.
    pub uses: u32,
    /// For how long, minutes.
    pub minutes: u32,
}

impl Act {
    /// What a form that goes to this place wants.
    pub(crate) fn of(to: &str, fields: &Fields) -> Result<Self, Refused> {
        if let Some(approval) = to.strip_prefix("/approvals/").and_then(|rest| rest.strip_suffix("/decision")) {
            return DecisionWanted::read(approval, fields).map(Self::Decision);
        }
        if to == BATCH {
            return BatchWanted::read(fields).map(Self::Batch);
        }
        let fields = fields.sorted_without(&[TOKEN, ASSERTION, OPERATOR, TO]);
        Ok(Self::Change { to: to.to_owned(), fields })
    }

    /// The question that is put to the authenticator.
    fn challenge(&self, nonce: &[u8; 32]) -> [u8; 32] {
        match self {
            Self::Decision(wanted) => *bailiwick_store::challenge(&wanted.binding, &wanted.statement(), nonce).as_bytes(),
            Self::Batch(wanted) => *bailiwick_store::challenge(&wanted.digest(), &wanted.statement(), nonce).as_bytes(),
            Self::Change { .. } => sha256(&[b"bailiwick.act.v1\0".as_slice(), &self.canonical(), nonce].concat()),
        }
    }

    /// All of it in one way of writing.
    fn canonical(&self) -> Vec<u8> {
        let value = match self {
            Self::Decision(DecisionWanted { approval, binding, verdict, reason, view, allow }) => {
                json!(["decision", approval, binding, verdict, reason, view, allow])
            }
            Self::Batch(BatchWanted { approvals, verdict, reason, view }) => json!(["batch", approvals, verdict, reason, view]),
            Self::Change { to, fields } => json!([to, fields]),
        };
        bailiwick_schemas::canonical::canonical(&value)
    }

    fn digest(&self) -> [u8; 32] {
        sha256(&self.canonical())
    }
}

impl DecisionWanted {
    /// What is signed of it besides the call.
    fn statement(&self) -> String {
        let allow = self.allow.as_ref().map(|allow| (&allow.any, allow.uses, allow.minutes));
        Statement { verdict: self.verdict, reason: self.reason.as_deref(), view: self.view.as_ref(), allow }.text()
    }

    fn read(approval: &str, fields: &Fields) -> Result<Self, Refused> {
        let (verdict, reason) = answer(fields)?;
        Ok(Self {
            approval: approval.to_owned(),
            binding: digest("binding", fields.need("binding")?)?,
            verdict,
            reason,
            view: fields.text("view").map(|view| digest("view", view)).transpose()?,
            allow: Allow::read(fields)?,
        })
    }
}

impl BatchWanted {
    /// What is decided: exactly these calls, in this order.
    fn digest(&self) -> Digest {
        let bindings: Vec<Digest> = self.approvals.iter().map(|(_, binding)| *binding).collect();
        bailiwick_store::batch_digest(&bindings)
    }

    /// What is signed of it besides the calls.
    fn statement(&self) -> String {
        Statement { verdict: self.verdict, reason: self.reason.as_deref(), view: self.view.as_ref(), allow: None }.text()
    }

    /// `ids` and `bindings`, each a list with blanks between, and as long as the other.
    fn read(fields: &Fields) -> Result<Self, Refused> {
        let ids: Vec<&str> = fields.need("ids")?.split(' ').collect();
        let bindings = fields.need("bindings")?.split(' ').map(|text| digest("bindings", text));
        let bindings = bindings.collect::<Result<Vec<_>, _>>()?;
        let is_once = ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
        if ids.len() != bindings.len() || ids.len() > BATCH_MOST || !is_once {
            return Err(Refused::invalid(format!("the form names no list of at most {BATCH_MOST} calls, each once")));
        }
        let (verdict, reason) = answer(fields)?;
        let view = fields.text("view").map(|view| digest("view", view)).transpose()?;
        let approvals = ids.into_iter().map(str::to_owned).zip(bindings).collect();
        Ok(Self { approvals, verdict, reason, view })
    }
}

fn digest(name: &str, text: &str) -> Result<Digest, Refused> {
    text.parse::<Digest>().map_err(|_| Refused::invalid(format!("`{name}` in the form is no digest")))
}

/// Yes or no, and why.
fn answer(fields: &Fields) -> Result<(Verdict, Option<String>), Refused> {
    let verdict = match fields.need("verdict")? {
        "approve" => Verdict::Approve,
        "deny" => Verdict::Deny,
        _ => return Err(Refused::invalid("`verdict` in the form is neither `approve` nor `deny`")),
    };
    let reason = words(fields, "reason")?;
    if verdict == Verdict::Deny && reason.is_none() {
        return Err(Refused::invalid("a no needs a reason: the agent is told it"));
    }
    Ok((verdict, reason))
}

/// What somebody wrote in this field, if anything.
pub(crate) fn words(fields: &Fields, name: &str) -> Result<Option<String>, Refused> {
    let words = fields.text(name).map(str::trim).filter(|words| !words.is_empty());
    if words.is_some_and(|words| words.chars().count() > 500 || words.chars().any(bailiwick_schemas::text::is_invisible)) {
        return Err(Refused::invalid(format!("a {name} has at most 500 visible characters")));
    }
    Ok(words.map(str::to_owned))
}

impl Allow {
    /// `allow_uses` and `allow_minutes`. Arguments that may have any value (`allow_any`) are on no page, so no form takes them.
    fn read(fields: &Fields) -> Result<Option<Self>, Refused> {
        if fields.text("allow_any").is_some() {
            return Err(Refused::invalid("no page asks for arguments that may have any value: none are taken"));
        }
        let Some(uses) = fields.text("allow_uses") else { return Ok(None) };
        let number = |name: &str, text: &str, most: u32| {
            let number = text.parse::<u32>().ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| Refused::invalid(format!("`{name}` in the form is no number from 1 to {most}")))
        };
        Ok(Some(Self {
            any: BTreeSet::new(),
            uses: number("allow_uses", uses, 1000)?,
            minutes: number("allow_minutes", fields.need("allow_minutes")?, 60)?,
        }))
    }
}

/// `POST /sign`: the question for what the form wants.
pub(crate) async fn ask(State(console): State<Arc<Console>>, posted: Posted) -> Result<Json<Value>, Refused> {
    let (session, fields) = (posted.session(), posted.fields());
    let to = fields.need(TO)?;
    let passkeys = console.passkeys().of(&session.person);
    if passkeys.is_empty() {
        return Err(Refused::forbidden(
            "you have no passkey yet",
            "add one on the page `passkeys`, in the tab in which you opened your link",
        ));
    }
    let (act, nonce, now_ms) = (Act::of(to, fields)?, random::bytes()?, console.house().now_ms());
    let challenge = act.challenge(&nonce);
    let purpose = Purpose::Sign { session: session.id.clone(), person: session.person.clone(), act: act.digest(), nonce };
    console.challenges().put(challenge, purpose, now_ms);
    let allowed: Vec<Value> =
        passkeys.iter().map(|passkey| json!({"type": "public-key", "id": URL_SAFE_NO_PAD.encode(&passkey.id)})).collect();
    Ok(Json(question(&console, &challenge, &allowed)))
}

/// What is given to the browser for an assertion.
pub(crate) fn question(console: &Console, challenge: &[u8], allowed: &[Value]) -> Value {
    json!({
        "challenge": URL_SAFE_NO_PAD.encode(challenge), "rpId": console.site().party(), "userVerification": "required",
        "timeout": PATIENCE_MS, "allowCredentials": allowed,
    })
}

/// The signature under what a form wants, if what it brings proves it.
pub(crate) async fn signature(
    console: &Console,
    to: &str,
    fields: &Fields,
    session: &Session,
    person: &Person,
) -> Result<Signature, Refused> {
    let signed =
        |method, evidence, maker| Signature { person: person.clone(), session: session.id.clone(), method, evidence, maker };
    match (fields.text(ASSERTION), fields.text(OPERATOR)) {
        (Some(assertion), _) => {
            let (evidence, maker) = by_passkey(console, (to, fields), session, assertion).await?;
            Ok(signed(ProofMethod::Passkey, Some(evidence), maker))
        }
        (None, Some(credential)) => {
            by_operator(console, credential, to, (person, &session.id)).await?;
            Ok(signed(ProofMethod::Operator, None, Some(console.house().own_uid())))
        }
        (None, None) => Err(Refused::forbidden(
            "this has to be signed",
            "use your passkey; without a script in this browser, type the operator credential",
        )),
    }
}

async fn by_passkey(
    console: &Console,
    (to, fields): (&str, &Fields),
    session: &Session,
    assertion: &str,
) -> Result<(Evidence, Option<u32>), Refused> {
    let refuse = |why: String| async move {
        console.note_failure("signature_refused", &session.person, to, &why).await;
        Refused::forbidden(format!("the signature does not count: {why}"), "load the page anew and sign again")
    };
    let now_ms = console.house().now_ms();
    let read = Assertion::read(assertion).and_then(|assertion| Ok((assertion.challenge()?, assertion)));
    let (challenge, assertion) = match read {
        Ok(read) => read,
        Err(fault) => return Err(refuse(fault.to_string()).await),
    };
    let act = Act::of(to, fields)?;
    // Taken whatever comes of it: nobody tries twice with one question.
    let nonce = match console.challenges().take(&challenge, now_ms) {
        Some(Purpose::Sign { session: of, person, act: of_act, nonce })
            if of == session.id && person == session.person && are_equal(&of_act, &act.digest()) =>
        {
            nonce
        }
        Some(_) => return Err(refuse("it was asked for something else".to_owned()).await),
        None => return Err(refuse("it was used before, or came too late".to_owned()).await),
    };
    let passkey = console.passkeys().find(&assertion.id).filter(|passkey| passkey.person == session.person);
    let Some(passkey) = passkey else {
        return Err(refuse("this passkey is not yours".to_owned()).await);
    };
    let (origin, party) = (console.site().origin(), console.site().party());
    let expected = Expected { challenge: &act.challenge(&nonce), origin: &origin, party: &party };
    if let Err(why) = console.verify(&assertion, &passkey, expected).await {
        return Err(refuse(why).await);
    }
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let evidence = Evidence {
        credential_id: text(&assertion.id),
        client_data: text(&assertion.client_data),
        authenticator_data: text(&assertion.authenticator_data),
        signature: text(&assertion.signature),
        public_key: text(&passkey.cose),
        nonce: text(&nonce),
        statement: match &act {
            Act::Decision(wanted) => wanted.statement(),
            Act::Batch(wanted) => wanted.statement(),
            Act::Change { .. } => String::new(),
        },
    };
    Ok((evidence, passkey.maker))
}

/// The right one counts at any time: only wrong ones are slowed down, each session by itself.
async fn by_operator(console: &Console, typed: &str, to: &str, (person, session): (&Person, &str)) -> Result<(), Refused> {
    let wanted = console.house().operator_credential();
    let Some(wanted) = wanted else {
        return Err(Refused::unavailable("the operator credential is missing or damaged"));
    };
    let typed = zeroize::Zeroizing::new(typed.trim().to_ascii_lowercase());
    // Digests of both, so that their lengths say nothing either.
    let is_it = are_equal(&sha256(typed.as_bytes()), &sha256(zeroize::Zeroizing::new(random::hex(&wanted)).as_bytes()));
    if is_it {
        return Ok(());
    }
    console.credential_tries().failed(session, console.house().now_ms())?;
    console.note_failure("signature_refused", &person.id, to, "another operator credential").await;
    Err(Refused::forbidden("this is not the operator credential", "`bailiwick console --credential` shows it to the operator"))
}
