//! From the configured issuers to what lends their credentials.

mod issuers;

use std::{collections::BTreeMap, sync::Arc};

use bailiwick_config::{BaoLogin, Config, Connector, Credential, Lending, ProviderKind};
use bailiwick_credentials::{
    BaoServer, Consents, CredentialSpec, Exec, ExecTerms, LentByBao, LentByPostgres, Login, OpenBao, Postgres, PostgresServer,
    Program, Provider, SvidFile, Web,
};
use bailiwick_pipeline::ports::Access;
use bailiwick_schemas::canonical::Digest;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{consenting, runtime::StartFault};

/// What issuers are asked with, beside what is configured.
#[derive(Clone, Copy)]
pub(crate) struct Lenders<'a> {
    /// The environment that the gateway was started with.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// What owners consented to.
    pub(crate) consents: &'a Arc<Consents>,
}

/// What a connector is lent of an issuer's.
pub(crate) fn of_issuer(
    config: &Config,
    (connector, lending, credential): (&Connector, &Lending, &Credential),
    lenders: Lenders<'_>,
) -> Result<CredentialSpec, StartFault> {
    let issuer = config.providers.iter().find(|issuer| issuer.id == lending.provider);
    let Some(issuer) = issuer else {
        // The configuration is checked: it names none that it does not have.
        return Err(StartFault::Leases(format!("there is no provider `{}`", lending.provider)));
    };
    let provider: Arc<dyn Provider> = match &issuer.kind {
        // One line for each kind.
        ProviderKind::OpenBao(of) => Arc::new(openbao(of, lending)),
        ProviderKind::Postgres(of) => Arc::new(postgres(of, lending)),
        ProviderKind::OAuth(of) => Arc::new(issuers::oauth(of, connector, lending)),
        ProviderKind::GitHub(of) => Arc::new(issuers::github(of, lending)),
        ProviderKind::Aws(of) => Arc::new(issuers::aws(of, lending)),
        ProviderKind::Exec(exec) => Arc::new(of_program(exec, lending, lenders)),
        ProviderKind::SvidFile(svid) => Arc::new(of_svid_file(svid, lending)),
        ProviderKind::Mcp(mcp) => match consenting::consented(config, (connector, mcp, lending), lenders.consents) {
            Some(consented) => Arc::new(consented),
            None => {
                return Err(StartFault::Leases(format!("`{}` is not reached over HTTP: nobody consents to it", connector.id)));
            }
        },
    };
    // Their tokens are for one server: at another address there is another one, which is shown none of them.
    let server = match (&issuer.kind, &connector.way) {
        (ProviderKind::Mcp(_), bailiwick_config::Way::Http(http)) => format!("{http:?}"),
        // They are for the certificate that is presented there.
        (ProviderKind::OAuth(_), bailiwick_config::Way::Http(http)) => format!("{:?}", http.identity),
        _ => String::new(),
    };
    let terms = format!("{:?} {credential:?} {server}", issuer.kind);
    let place = format!("{} {}", issuer.id, place_of(&issuer.kind));
    Ok(CredentialSpec { provider, injection: credential.injection.clone(), terms, issuer: place })
}

/// Where an issuer is, and as whom it knows us: what it gave can be taken back there and nowhere else.
fn place_of(kind: &ProviderKind) -> String {
    match kind {
        ProviderKind::OpenBao(of) => format!("{} {:?}", of.url, of.namespace),
        ProviderKind::Postgres(of) => {
            format!("{}:{} {} {}", of.host, of.port, of.socket.as_deref().unwrap_or("".as_ref()).display(), of.database)
        }
        ProviderKind::OAuth(of) => format!("{:?} {}", of.place, of.client_id),
        ProviderKind::GitHub(of) => format!("{} {} {}", of.api, of.app, of.installation),
        ProviderKind::Aws(of) => of.endpoint.to_string(),
        ProviderKind::Exec(of) => format!("{} {}", of.program.display(), digest_of(&of.arguments)),
        // What takes it back is in the handle, or there is nothing that does.
        ProviderKind::Mcp(_) | ProviderKind::SvidFile(_) => String::new(),
    }
}

/// Tells arguments apart: they say which issuer a program asks, and may hold what is on no record.
fn digest_of(arguments: &[String]) -> String {
    let mut text = Zeroizing::new(String::new());
    for argument in arguments {
        text.push_str(argument);
        text.push('\0');
    }
    // So much of it tells configurations apart, and says little of what was digested.
    Digest::of(text.as_bytes()).to_string().chars().skip("sha256:".len()).take(12).collect()
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

fn of_program(exec: &bailiwick_config::Exec, lending: &Lending, lenders: Lenders<'_>) -> Exec {
    let passed = exec.env.iter().filter_map(|name| {
        let value = lenders.environment.get(name)?;
        Some((name.clone(), SecretString::from(value.clone())))
    });
    Exec {
        program: Program { path: exec.program.clone(), arguments: exec.arguments.clone(), env: Arc::new(passed.collect()) },
        revocable: exec.revocable,
        max_ttl: exec.max_ttl,
        what: ExecTerms {
            role: lending.role.as_ref().map(|role| role.all.clone()),
            read_role: lending.role.as_ref().and_then(|role| role.read.clone()),
            audience: lending.audience.clone(),
            longest: lending.ttl,
        },
    }
}

fn of_svid_file(svid: &bailiwick_config::SvidFile, lending: &Lending) -> SvidFile {
    SvidFile {
        path: svid.path.clone(),
        trust_domain: svid.trust_domain.clone(),
        audience: lending.audience.clone().unwrap_or_default(),
        longest: lending.ttl,
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_config::{Exec, ProviderKind};

    use super::place_of;

    #[test]
    fn a_program_with_other_arguments_is_another_issuer() {
        let place = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let program = "/usr/local/bin/mint".into();
            place_of(&ProviderKind::Exec(Exec { program, arguments, env: [].into(), revocable: true, max_ttl: None }))
        };
        assert_eq!(place(&["--prod", "canary"]), place(&["--prod", "canary"]));
        assert_ne!(place(&["--prod", "canary"]), place(&["--test", "canary"]));
        assert_ne!(place(&["ab", "c"]), place(&["a", "bc"]));
        assert!(!place(&["--prod", "canary"]).contains("canary"));
    }
}
