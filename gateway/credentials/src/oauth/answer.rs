//! What an authorization server gives (RFC 6749 section 5.1, RFC 8693 section 2.2), and whether it is what was asked for.

use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::{
    provider::{MintFault, MintFaultKind},
    web::Answer,
    wiped::Wiped,
};

/// The kind of token that is asked for (RFC 8693 section 3).
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A token, not judged yet.
#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the words of RFC 6749 and 8693")]
pub(super) struct Token {
    #[serde(rename = "access_token")]
    pub(super) secret: Wiped,
    /// Seconds.
    pub(super) expires_in: Option<u64>,
    #[serde(default)]
    token_type: String,
    scope: Option<String>,
    issued_token_type: Option<String>,
    pub(super) refresh_token: Option<Wiped>,
}

impl Token {
    /// Reads an answer.
    pub(super) fn read(answer: &Answer) -> Result<Self, MintFault> {
        let wrong = |why: &str| MintFault::new(MintFaultKind::Wrong, why);
        let token: Self = serde_json::from_slice(&answer.body)
            .map_err(|_| wrong("the authorization server answers without an access token, or not in JSON"))?;
        let text = token.secret.0.expose_secret();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("the access token of its issuer is no line of plain text"));
        }
        Ok(token)
    }

    /// Refuses what is not what was asked for.
    pub(super) fn judge(&self, asked: &[String], is_exchange: bool) -> Result<(), MintFault> {
        if !self.token_type.eq_ignore_ascii_case("bearer") {
            let said = self.token_type.escape_debug();
            let why = format!("its issuer gives a token of the type `{said}`, and `Bearer` was asked for");
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        if let (true, kind) = (is_exchange, self.issued_token_type.as_deref().unwrap_or_default())
            && kind != ACCESS_TOKEN
        {
            let why = format!("its issuer gives `{}`, and an access token was asked for", kind.escape_debug());
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        let given = self.scope.as_deref().unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
        let beyond: Vec<_> = given.filter(|scope| !asked.iter().any(|one| one == scope)).map(str::escape_debug).collect();
        if !beyond.is_empty() {
            let beyond = beyond.into_iter().map(|scope| format!("`{scope}`")).collect::<Vec<_>>().join(", ");
            return Err(MintFault::new(MintFaultKind::Generous, format!("its issuer gives {beyond} beyond what was asked for")));
        }
        if self.refresh_token.is_some() {
            let why = "its issuer gives a refresh token as well, which outlives the task: have it give none to this client";
            return Err(MintFault::new(MintFaultKind::Generous, why));
        }
        Ok(())
    }
}
