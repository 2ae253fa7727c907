//! Authorization servers, apps and roles that are lent.

use bailiwick_config::{Connector, Lending, OAuthClient, PermissionLevel, Way};
use bailiwick_credentials::{
    Aws, AwsKeys, Bound, ClientAuthentication, GitHub, GitHubPermission, OAuth, OAuthPlace, OAuthRequest, OAuthServer, OnBehalf,
    SignatureAlgorithm, SigningKey, Web,
};

/// Access tokens of this server.
pub(super) fn oauth(of: &bailiwick_config::OAuth, connector: &Connector, lending: &Lending) -> OAuth {
    let identity = if let OAuthClient::Mtls(file) = &of.client { Some(file.clone()) } else { None };
    let place = match &of.place {
        bailiwick_config::OAuthPlace::Issuer(issuer) => OAuthPlace::Issuer(issuer.clone()),
        bailiwick_config::OAuthPlace::Endpoints(token, revocation) => {
            OAuthPlace::Endpoints { token: token.clone(), revocation: revocation.clone() }
        }
    };
    let on_behalf = of.on_behalf.as_ref();
    let server = OAuthServer {
        web: Web { roots: of.roots.clone(), identity },
        place,
        client_id: of.client_id.clone(),
        authentication: authentication(&of.client),
        on_behalf: on_behalf.map(|(files, kind)| OnBehalf { files: files.clone(), kind: (*kind).to_owned() }),
        // What a connector says is within what the provider says.
        max_ttl: of.max_ttl,
        is_revocable: of.is_revocable,
    };
    let scopes = lending.scopes.clone().unwrap_or_default();
    let (audience, resource) = (lending.audience.clone(), lending.resource.clone());
    let bound = match lending.bound {
        None => Bound::None,
        Some(bailiwick_config::Bound::Dpop) => Bound::Dpop,
        Some(bailiwick_config::Bound::Mtls) => Bound::Mtls,
    };
    let identity = match &connector.way {
        Way::Http(http) => http.identity.clone(),
        Way::Process(_) => None,
    };
    OAuth { server, request: OAuthRequest { scopes: scopes.all, read_scopes: scopes.read, audience, resource, bound, identity } }
}

fn authentication(client: &OAuthClient) -> ClientAuthentication {
    match client {
        OAuthClient::Basic(file) => ClientAuthentication::Basic(file.clone()),
        OAuthClient::Post(file) => ClientAuthentication::Post(file.clone()),
        OAuthClient::Mtls(_) => ClientAuthentication::Mtls,
        OAuthClient::PrivateKeyJwt { file, key_id, algorithm } => {
            let algorithm = algorithm.map(|algorithm| match algorithm {
                "PS256" => SignatureAlgorithm::Ps256,
                "ES256" => SignatureAlgorithm::Es256,
                "EdDSA" => SignatureAlgorithm::EdDsa,
                _ => SignatureAlgorithm::Rs256,
            });
            ClientAuthentication::PrivateKeyJwt(SigningKey { file: file.clone(), key_id: key_id.clone(), algorithm })
        }
    }
}

/// Installation tokens of this app.
pub(super) fn github(of: &bailiwick_config::GitHub, lending: &Lending) -> GitHub {
    let level = |level: &PermissionLevel| match level {
        PermissionLevel::Read => GitHubPermission::Read,
        PermissionLevel::Write => GitHubPermission::Write,
        PermissionLevel::Admin => GitHubPermission::Admin,
    };
    let named = lending.permissions.clone().unwrap_or_default();
    let levels = |of: &std::collections::BTreeMap<String, PermissionLevel>| {
        of.iter().map(|(name, of)| (name.clone(), level(of))).collect()
    };
    GitHub {
        web: Web { roots: of.roots.clone(), identity: None },
        api: of.api.clone(),
        app: of.app.clone(),
        installation: of.installation,
        key: SigningKey { file: of.key_file.clone(), key_id: None, algorithm: Some(SignatureAlgorithm::Rs256) },
        repositories: lending.repositories.clone(),
        permissions: levels(&named.all),
        read_permissions: named.read.as_ref().map(levels),
    }
}

/// Sessions of a role.
pub(super) fn aws(of: &bailiwick_config::Aws, lending: &Lending) -> Aws {
    let role = lending.role.clone().unwrap_or_default();
    let keys = AwsKeys {
        id: of.access_key_id.clone(),
        secret_file: of.secret_file.clone(),
        session_token_file: of.session_token_file.clone(),
    };
    Aws {
        web: Web { roots: of.roots.clone(), identity: None },
        endpoint: of.endpoint.clone(),
        region: of.region.clone(),
        keys,
        max_ttl: lending.ttl.or(of.max_ttl),
        tags: of.tags,
        role: role.all,
        read_role: role.read,
        policy: lending.session_policy.clone(),
        read_policy: lending.read_session_policy.clone(),
        may_outlive: lending.may_outlive,
    }
}
