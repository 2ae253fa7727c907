//! From the configured issuers to what lends their credentials.

mod issuers;

use std::sync::Arc;

use bailiwick_config::{BaoLogin, Config, Credential, Lending, ProviderKind};
use bailiwick_credentials::{
    BaoServer, CredentialSpec, LentByBao, LentByPostgres, Login, OpenBao, Postgres, PostgresServer, Provider, Web,
};
use bailiwick_pipeline::ports::Access;

use crate::runtime::StartFault;

/// What a connector is lent of an issuer's.
pub(crate) fn of_issuer(config: &Config, lending: &Lending, credential: &Credential) -> Result<CredentialSpec, StartFault> {
    let issuer = config.providers.iter().find(|issuer| issuer.id == lending.provider);
    let Some(issuer) = issuer else {
        // The configuration is checked: it names none that it does not have.
        return Err(StartFault::Leases(format!("there is no provider `{}`", lending.provider)));
    };
    let provider: Arc<dyn Provider> = match &issuer.kind {
        // One line for each kind.
        ProviderKind::OpenBao(of) => Arc::new(openbao(of, lending)),
        ProviderKind::Postgres(of) => Arc::new(postgres(of, lending)),
        ProviderKind::OAuth(of) => Arc::new(issuers::oauth(of, lending)),
        ProviderKind::GitHub(of) => Arc::new(issuers::github(of, lending)),
        ProviderKind::Aws(of) => Arc::new(issuers::aws(of, lending)),
        _ => return Err(StartFault::Leases(format!("the provider `{}` is not known here", issuer.id))),
    };
    let terms = format!("{:?} {credential:?}", issuer.kind);
    let place = format!("{} {}", issuer.id, place_of(&issuer.kind));
    Ok(CredentialSpec { provider, injection: credential.injection.clone(), terms, issuer: place })
}

/// Where an issuer is, and as whom it knows us: what it gave can be taken back there and nowhere else.
fn place_of(kind: &ProviderKind) -> String {
    match kind {
        ProviderKind::OpenBao(of) => format!("{} {:?}", of.url, of.namespace),
        ProviderKind::Postgres(of) => format!("{}:{} {:?} {}", of.host, of.port, of.socket, of.database),
        ProviderKind::OAuth(of) => format!("{:?} {}", of.place, of.client_id),
        ProviderKind::GitHub(of) => format!("{} {} {}", of.api, of.app, of.installation),
        ProviderKind::Aws(of) => of.endpoint.to_string(),
        _ => String::new(),
    }
}

fn openbao(of: &bailiwick_config::OpenBao, lending: &Lending) -> OpenBao {
    let login = match of.login.clone() {
        BaoLogin::Token(file) => Login::Token { file },
        BaoLogin::AppRole { mount, role_id, secret_id_file } => Login::AppRole { mount, role_id, secret_id_file },
        BaoLogin::Jwt { mount, role, file } => Login::Jwt { mount, role, file },
    };
    let server = BaoServer {
        url: of.url.clone(),
        web: Web { roots: of.roots.clone(), identity: None },
        namespace: of.namespace.clone(),
        login,
        token_role: of.token_role.clone(),
    };
    let path = |access| {
        let role = lending.role.as_ref().map(|role| role.of(access));
        role.or(lending.path.as_ref()).cloned().unwrap_or_default()
    };
    let policies = |access| lending.policies.of(access).clone();
    let lent = LentByBao {
        path: path(Access::Write),
        read_path: path(Access::Read),
        policies: policies(Access::Write),
        read_policies: policies(Access::Read),
        is_kept: lending.role.is_none(),
        longest: lending.ttl,
    };
    OpenBao::new(server, lent)
}

fn postgres(of: &bailiwick_config::Postgres, lending: &Lending) -> Postgres {
    let server = PostgresServer {
        host: of.host.clone(),
        port: of.port,
        database: of.database.clone(),
        user: of.user.clone(),
        password_file: of.password_file.clone(),
        socket: of.socket.clone(),
        roots: of.roots.clone(),
    };
    let role = |access| lending.role.as_ref().map(|role| role.of(access).clone()).unwrap_or_default();
    Postgres::new(server, LentByPostgres { role: role(Access::Write), read_role: role(Access::Read), longest: lending.ttl })
}
