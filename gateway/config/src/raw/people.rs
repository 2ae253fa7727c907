//! The console, and the people who use it, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// `[console]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawConsole {
    /// Whether people may log in. What observability stacks ask for is served at `server.console` in any case.
    pub(crate) enabled: bool,
    /// The URL by which browsers reach it: `https`, or this machine. Passkeys are bound to its host. `http://localhost` with the port of
    /// `server.console` when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// How long a session lives from its login on.
    pub(crate) session: Duration,
    /// How long a session may be idle.
    pub(crate) idle: Duration,
    /// An identity provider (`OpenID` Connect) that people may log in at too. What changes something is signed by a passkey as ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oidc: Option<RawOidc>,
}

/// `[console.oidc]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["issuer", "client_id"]))]
pub(crate) struct RawOidc {
    /// Its `iss`, exactly. It describes itself at `ISSUER/.well-known/openid-configuration`.
    pub(crate) issuer: Option<String>,
    /// What it calls this gateway. Its redirect URI is `PUBLIC_URL/login/oidc/callback`.
    pub(crate) client_id: Option<String>,
    /// The file with the client's secret, relative to this file; without one PKCE alone protects the login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_file: Option<String>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roots: Option<String>,
    /// The claim that says which roles count in a session that begins there. With it, nobody has a role that the claim does not grant, and
    /// nobody one that `[[people]]` does not give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roles_claim: Option<String>,
    /// With `roles_claim`: what each of its texts stands for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Vec<RoleWord>>")]
    pub(crate) roles: BTreeMap<String, Vec<String>>,
}

impl Default for RawConsole {
    fn default() -> Self {
        Self {
            enabled: true,
            public_url: None,
            session: Duration::from_secs(8 * 60 * 60),
            idle: Duration::from_secs(30 * 60),
            oidc: None,
        }
    }
}

/// `[[people]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "roles"]))]
pub(crate) struct RawPerson {
    /// Their name at the console and on record.
    pub(crate) id: Option<String>,
    /// What `console.oidc` calls them: the `sub` of its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// The owners that they are or belong to, as agents and grants name them: they approve nothing of theirs.
    pub(crate) owns: Vec<String>,
    /// What they may: each role stands for itself.
    #[schemars(with = "Option<Vec<RoleWord>>", length(min = 1))]
    pub(crate) roles: Option<Vec<String>>,
    /// With the role `approver`: what they may decide. Everything when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approves: Option<RawApproves>,
}

/// A role.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it stands only for its schema")]
enum RoleWord {
    Viewer,
    Approver,
    Admin,
    Auditor,
}

/// What an approver may decide.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawApproves {
    /// Calls of these connectors only, by id; of any when it is not set.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connectors: Option<Vec<String>>,
    /// The highest band; any when it is not set.
    #[schemars(extend("enum" = ["low", "medium", "high", "critical"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) up_to: Option<String>,
}
