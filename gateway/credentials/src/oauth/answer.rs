//! What an authorization server gives (RFC 6749 section 5.1, RFC 8693 section 2.2), and whether it is what was asked for.

use secrecy::{ExposeSecret as _, SecretString};
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

/// What of an answer is live, whatever the rest of it is like: it is taken back.
pub(super) struct Live {
    pub(super) access: SecretString,
    pub(super) refresh: Option<SecretString>,
}

impl Live {
    /// Reads an answer.
    pub(super) fn read(answer: &Answer) -> Result<Self, MintFault> {
        #[derive(Deserialize)]
        struct Access {
            access_token: Wiped,
        }
        #[derive(Deserialize)]
        struct Refresh {
            refresh_token: Wiped,
        }
        let access = serde_json::from_slice::<Access>(&answer.body).map(|access| access.access_token.0);
        let access = access.ok().filter(|token| !token.expose_secret().is_empty()).ok_or_else(|| {
            let why = "the authorization server answers without an access token, or not in JSON";
            MintFault::new(MintFaultKind::Wrong, why)
        })?;
        let refresh = serde_json::from_slice::<Refresh>(&answer.body).map(|refresh| refresh.refresh_token.0).ok();
        Ok(Self { access, refresh })
    }
}

impl Token {
    /// Reads an answer.
    pub(super) fn read(answer: &Answer) -> Result<Self, MintFault> {
        let wrong = |why: &str| MintFault::new(MintFaultKind::Wrong, why);
        let token: Self = serde_json::from_slice(&answer.body)
            .map_err(|_| wrong("what the authorization server says of the token is not what RFC 6749 says"))?;
        if !token.secret.0.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("the access token of its issuer is no line of plain text"));
        }
        Ok(token)
    }

    /// Refuses what is not what was asked for.
    pub(super) fn judge(
        &self,
        answer: &Answer,
        asked: &[String],
        (is_exchange, is_bound): (bool, bool),
    ) -> Result<(), MintFault> {
        let told = |said: &str| answer.clean(said, &[&self.secret.0]).escape_debug().to_string();
        // One that is not bound to the key is not taken in its place.
        let wanted = if is_bound { "DPoP" } else { "Bearer" };
        if !self.token_type.eq_ignore_ascii_case(wanted) {
            let said = told(&self.token_type);
            let why = format!("its issuer gives a token of the type `{said}`, and `{wanted}` was asked for");
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        if let (true, kind) = (is_exchange, self.issued_token_type.as_deref().unwrap_or_default())
            && kind != ACCESS_TOKEN
        {
            let why = format!("its issuer gives `{}`, and an access token was asked for", told(kind));
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        let given = self.scope.as_deref().unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
        let beyond: Vec<_> = given.filter(|scope| !asked.iter().any(|one| one == scope)).collect();
        if !beyond.is_empty() {
            let why = format!("its issuer gives `{}` beyond what was asked for", told(&beyond.join(" ")));
            return Err(MintFault::new(MintFaultKind::Generous, why));
        }
        if self.refresh_token.is_some() {
            let why = "its issuer gives a refresh token as well, which outlives the task: have it give none to this client";
            return Err(MintFault::new(MintFaultKind::Generous, why));
        }
        Ok(())
    }
}
