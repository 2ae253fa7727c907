//! A real PostgreSQL of a test's own: on loopback, in a temporary folder, as a user without rights, and gone with the test.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bailiwick_pipeline::ports::{Access, Lease, LeaseTerms, Template};
use secrecy::ExposeSecret as _;
use tokio_postgres::{Client, Config, NoTls, config::SslMode};

use crate::{LentByPostgres, Postgres, PostgresServer, provider::Minted, stub::file};

/// What README tells an admin to write.
const SETUP: &str = "CREATE ROLE bailiwick LOGIN CREATEROLE PASSWORD 'of-the-gateway-0123456789'; CREATE ROLE tickets_ro NOLOGIN; \
    CREATE ROLE tickets_rw NOLOGIN; GRANT tickets_ro, tickets_rw TO bailiwick WITH ADMIN OPTION; \
    CREATE TABLE tickets (text text); GRANT SELECT ON tickets TO tickets_ro; GRANT SELECT, INSERT ON tickets TO tickets_rw; \
    GRANT CREATE ON SCHEMA public TO tickets_rw";

pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    child: Child,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Fails where it has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Cluster {
    /// One with few places, so that they can be taken. None where PostgreSQL is not installed, but that is a failure where `CI` is set.
    pub(crate) async fn new() -> Option<Self> {
        let programs = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let found = programs.map(|entry| entry.unwrap().path().join("bin")).filter(|bin| bin.join("initdb").is_file()).max();
        let Some(programs) = found else {
            assert!(std::env::var_os("CI").is_none(), "there is no PostgreSQL to try: `apt-get install postgresql`");
            eprintln!("not tried: there is no PostgreSQL here (`apt-get install postgresql`)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let who = who();
        if let Some((user, group)) = who {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let data = folder.path().join("data");
        let begun = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if let Some((user, group)) = who {
                command.uid(user).gid(group);
            }
            command.arg("-D").arg(&data);
            command
        };
        let made = begun("initdb")
            .args([
                "-U",
                "postgres",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .status();
        assert!(made.unwrap().success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder_of_sockets = format!("unix_socket_directories={}", folder.path().display());
        let port_is = format!("port={port}");
        let settings = ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=40", &folder_of_sockets, &port_is];
        let child = begun("postgres").args(settings.iter().flat_map(|setting| ["-c", setting])).spawn().unwrap();
        let cluster = Self { folder, port, child };
        let until = Instant::now() + Duration::from_mins(1);
        let first = loop {
            match cluster.session("postgres", "postgres").await {
                Ok(client) => break client,
                Err(fault) => assert!(Instant::now() < until, "{fault:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        first.batch_execute("CREATE DATABASE app").await.unwrap();
        cluster.admin().await.batch_execute(SETUP).await.unwrap();
        Some(cluster)
    }

    /// A session by its socket, where everybody is who they say they are.
    pub(crate) async fn session(&self, user: &str, database: &str) -> Result<Client, String> {
        let mut config = Config::new();
        config.ssl_mode(SslMode::Disable).user(user).dbname(database).application_name("a test");
        let socket = self.folder.path().join(format!(".s.PGSQL.{}", self.port));
        let wire = tokio::net::UnixStream::connect(socket).await.map_err(|fault| fault.to_string())?;
        let (client, connection) = config.connect_raw(wire, NoTls).await.map_err(|fault| fault.to_string())?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The superuser in what is lent.
    pub(crate) async fn admin(&self) -> Client {
        self.session("postgres", "app").await.unwrap()
    }

    pub(crate) fn provider(&self) -> Postgres {
        self.provider_at(self.port)
    }

    /// The same where something stands in between.
    pub(crate) fn provider_at(&self, port: u16) -> Postgres {
        provider_at(self.folder.path(), port)
    }

    /// How many roles stand there that were made.
    pub(crate) async fn made(&self) -> i64 {
        let admin = self.admin().await;
        admin
            .query_one(r"SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles WHERE rolname LIKE 'bailiwick\_%'", &[])
            .await
            .unwrap()
            .get(0)
    }
}

/// A provider of what is at this port.
pub(crate) fn provider_at(folder: &std::path::Path, port: u16) -> Postgres {
    let server = PostgresServer {
        host: "127.0.0.1".to_owned(),
        port,
        database: "app".to_owned(),
        user: "bailiwick".to_owned(),
        password_file: Some(file(folder, "password", "of-the-gateway-0123456789")),
        socket: None,
        roots: None,
    };
    Postgres::new(server, LentByPostgres { role: "tickets_rw".to_owned(), read_role: "tickets_ro".to_owned(), longest: None })
}

/// The user that PostgreSQL runs as, as it does not run as root.
fn who() -> Option<(u32, u32)> {
    rustix::process::geteuid().is_root().then(|| {
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        let user = users.lines().find(|line| line.starts_with("postgres:")).expect("the user `postgres`").to_owned();
        let number = |at: usize| user.split(':').nth(at).unwrap().parse().unwrap();
        (number(2), number(3))
    })
}

/// One part of what was given.
pub(crate) fn part(minted: Minted, name: &str) -> String {
    let injection = bailiwick_pipeline::ports::Injection::Child {
        env: vec![("PART".to_owned(), Template::parse(&format!("{{{name}}}{{password}}")).unwrap())],
        files: Vec::new(),
    };
    let terms = LeaseTerms {
        id: "lease-1".to_owned(),
        provider: "postgres",
        reference: String::new(),
        injection,
        expires_at_ms: 1,
        access: Access::Write,
    };
    let password = |lease: &Lease| lease.secrets().iter().map(|secret| secret.expose_secret().len()).min().unwrap();
    let lease = Lease::new(terms, minted.material).unwrap();
    let text = lease.variables().unwrap().first().unwrap().1.expose_secret().to_owned();
    let length = text.len() - password(&lease);
    text.get(..length).unwrap().to_owned()
}
