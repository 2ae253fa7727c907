//! PostgreSQL: a role for each task, made and dropped by the gateway itself.
//!
//! The role's name follows from the lease and is written down before the role is made. The session that makes it bears the lease's name, so
//! that whoever takes it back ends that session first: what it was still about to do is not done afterwards.

mod back;
#[cfg(test)]
mod tests;
mod wary;
mod wire;

use std::{path::PathBuf, time::Duration};

use bailiwick_pipeline::ports::{Access, Later, Material};
use postgres_protocol::{
    escape::{escape_identifier, escape_literal},
    password::scram_sha_256,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::wire::{connect, told};
use crate::provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish};

/// So many sessions a role has at once: a task that took all that the server has would keep its role from being taken back.
const SESSIONS: u32 = 20;

/// Whether it is there, and what it is or has that is more than rights to data: such a role could make others, hand itself on, or reach the server's
/// files.
const PARENT: &str = "SELECT (SELECT r.rolname::text FROM pg_roles r WHERE pg_has_role(p.oid, r.oid, 'MEMBER') AND (r.rolsuper OR \
    r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls OR r.rolname IN ('pg_execute_server_program', \
    'pg_read_server_files', 'pg_write_server_files', 'pg_signal_backend', 'pg_create_subscription') OR \
    EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.member = r.oid AND m.admin_option)) ORDER BY r.oid = p.oid DESC LIMIT 1), \
    (now() + make_interval(secs => $2))::text FROM pg_roles p WHERE p.rolname = $1";

/// A PostgreSQL server, and what of it one connector is lent.
#[derive(Debug)]
pub struct Postgres {
    server: PostgresServer,
    lent: LentByPostgres,
}

/// How a PostgreSQL server is reached.
#[derive(Debug, Clone)]
pub struct PostgresServer {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// As whom the gateway logs in.
    pub user: String,
    /// The file with the password of that user; none where the server knows it otherwise.
    pub password_file: Option<PathBuf>,
    /// The folder of its socket, in place of the host.
    pub socket: Option<PathBuf>,
    /// The PEM file of the only authorities that are trusted for it; those of the system where there is none.
    pub roots: Option<PathBuf>,
}

/// What is lent of a PostgreSQL server.
#[derive(Debug, Clone)]
pub struct LentByPostgres {
    /// The role whose rights are lent.
    pub role: String,
    /// The same for tasks that only read.
    pub read_role: String,
    /// For how long at most.
    pub longest: Option<Duration>,
}

impl PostgresServer {
    /// Whether it is on this machine.
    fn is_near(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.socket.is_some() || is_loopback || host == "localhost"
    }

    fn place(&self) -> String {
        match &self.socket {
            Some(folder) => format!("{}, port {}", folder.display(), self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

/// By what it is taken back.
#[derive(Serialize, Deserialize)]
struct Held {
    /// The name that the session bears which makes it.
    maker: String,
    role: String,
    /// Who gets what the role owns.
    heir: String,
}

impl Postgres {
    /// What this connector is lent of this server.
    pub fn new(server: PostgresServer, lent: LentByPostgres) -> Self {
        Self { server, lent }
    }

    fn parent(&self, access: Access) -> &str {
        if access == Access::Read { &self.lent.read_role } else { &self.lent.role }
    }

    async fn made(&self, wish: &Wish, journal: &dyn Journal) -> Result<Minted, MintFault> {
        let parent = self.parent(wish.access);
        let role = wish.lease.replacen("lease-", "bailiwick_", 1);
        let held = Held { maker: wish.lease.clone(), role, heir: parent.to_owned() };
        let handle = serde_json::to_string(&held).map(Handle::new).map_err(|fault| own(&fault.to_string()))?;
        journal.keep(&handle).await?;
        let client = connect(&self.server, &held.maker).await?;
        #[expect(clippy::cast_precision_loss, reason = "a lease lives for less than 2^52 seconds")]
        let seconds = wish.seconds() as f64;
        let found = client.query_opt(PARENT, &[&parent, &seconds]).await.map_err(|fault| told(&fault))?;
        let Some(found) = found else {
            let why = format!("PostgreSQL has no role `{parent}`: create it, or correct `role`");
            return Err(MintFault::new(MintFaultKind::Refused, why));
        };
        let (mighty, until): (Option<&str>, &str) = (column(&found, 0)?, column(&found, 1)?);
        if let Some(mighty) = mighty {
            let is = if mighty == parent { "is".to_owned() } else { format!("has `{mighty}`, which is") };
            let why = format!(
                "the role `{parent}` {is} more than rights to data (superuser, createrole, createdb, replication, bypassrls, the server's files, or an admin of other roles): lend a role without these"
            );
            return Err(MintFault::new(MintFaultKind::Generous, why));
        }
        let password = password()?;
        // The server gets, and logs at most, what proves that somebody knows the password.
        let verifier = scram_sha_256(password.as_bytes());
        let statement = format!(
            "CREATE ROLE {} LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT {SESSIONS} PASSWORD {} VALID UNTIL {} IN ROLE {}",
            escape_identifier(&held.role),
            escape_literal(&verifier),
            escape_literal(until),
            escape_identifier(parent),
        );
        client.batch_execute(&statement).await.map_err(|fault| told(&fault))?;
        Ok(Minted {
            material: self.material(&held.role, &password),
            reference: parent.to_owned(),
            expires_at_ms: Some(wish.until_ms),
            handle: Some(handle),
        })
    }

    fn material(&self, role: &str, password: &str) -> Material {
        let PostgresServer { host, port, database, socket, .. } = &self.server;
        let name = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
        let dsn = Zeroizing::new(if let Some(folder) = socket {
            let folder = name(&folder.display().to_string());
            format!("postgresql://{role}:{password}@/{}?host={folder}&port={port}", name(database))
        } else {
            // Whom the gateway takes for the server, the connector's driver has to as well.
            let tls = match &self.server.roots {
                Some(roots) => format!("?sslmode=verify-full&sslrootcert={}", name(&roots.display().to_string())),
                None if self.server.is_near() => String::new(),
                None => "?sslmode=require".to_owned(),
            };
            format!("postgresql://{role}:{password}@{host}:{port}/{}{tls}", name(database))
        });
        let host = socket.as_ref().map_or_else(|| host.clone(), |folder| folder.display().to_string());
        Material::default()
            .with_plain("username", role)
            .with_plain("host", host)
            .with_plain("port", port.to_string())
            .with_plain("database", database)
            .with_secret("password", SecretString::from(password))
            .with_secret("dsn", SecretString::from(dsn.as_str()))
    }

    async fn revoked(&self, handle: &Handle) -> Result<(), RevokeFault> {
        let held: Held = serde_json::from_str(handle.expose())
            .map_err(|_| RevokeFault::new("by what it is taken back was written down otherwise"))?;
        back::revoked(&self.server, &held).await
    }
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a tokio_postgres::Row, at: usize) -> Result<T, MintFault> {
    row.try_get(at).map_err(|_| MintFault::new(MintFaultKind::Wrong, "PostgreSQL answers with what was not asked for"))
}

fn password() -> Result<Zeroizing<String>, MintFault> {
    let mut random = Zeroizing::new([0_u8; 24]);
    aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| own("there is no randomness for its password"))?;
    let digits = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(Zeroizing::new(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()))
}

fn own(why: &str) -> MintFault {
    MintFault::new(MintFaultKind::Own, why)
}

impl Provider for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn reference(&self, access: Access) -> String {
        self.parent(access).to_owned()
    }

    fn is_revocable(&self) -> bool {
        true
    }

    fn longest(&self) -> Option<Duration> {
        self.lent.longest
    }

    /// `VALID UNTIL` ends logins, and no session; and the role itself stays.
    fn outlives_itself(&self) -> bool {
        true
    }

    fn mint<'a>(&'a self, wish: &'a Wish, journal: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(self.made(wish, journal))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(self.revoked(handle))
    }
}
