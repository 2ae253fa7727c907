//! How a role is taken back: whoever made it is heard no more, it logs in no more, and then it goes with all that it has.

use std::{pin::pin, time::Duration};

use postgres_protocol::escape::escape_identifier;
use tokio::time::Instant;
use tokio_postgres::{Client, error::SqlState};

use super::{
    Held, PostgresServer, column,
    wire::{connect, told},
};
use crate::provider::{MintFault, RevokeFault};

/// So long sessions are ended before it is tried again later.
const PATIENCE: Duration = Duration::from_secs(8);

/// Between two looks at what is left.
const GLANCE: Duration = Duration::from_millis(25);

/// The name of the sessions that take back.
const NAME: &str = "bailiwick takes back";

/// The session that makes a role, by the name that it bears: one of the gateway's own, as whoever is lent a role can give any name to theirs.
const MAKERS: &str = "application_name = $1 AND usename = session_user";

/// The sessions of a role.
const OF_ROLE: &str = "usename = $1";

/// The other databases of the server in which a role owns something, or may do something.
const ELSEWHERE: &str = "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
    JOIN pg_roles r ON r.oid = s.refobjid \
    WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = $1 AND d.datname <> current_database()";

pub(super) async fn revoked(server: &PostgresServer, held: &Held) -> Result<(), RevokeFault> {
    let client = connect(server, NAME).await?;
    // INVARIANT: what makes the role is over before it is looked for. A statement that is still on its way is never heard.
    end_sessions(&client, MAKERS, &held.maker).await?;
    if !is_there(&client, &held.role).await? {
        return Ok(());
    }
    let (role, heir) = (escape_identifier(&held.role), escape_identifier(&held.heir));
    // To be a member of it is what it takes to end its sessions, and to hand on what it owns.
    if !is_done(&client, &held.role, &format!("GRANT {role} TO CURRENT_USER")).await? {
        return Ok(());
    }
    if !locked_out(&client, server, &held.role).await? {
        return Ok(());
    }
    end_sessions(&client, OF_ROLE, &held.role).await?;
    // Should something keep it from being dropped, it has no rights by then. Where this fails, dropping it says what is wrong.
    let _stripped = client.batch_execute(&format!("REVOKE {heir} FROM {role}")).await;
    if is_there(&client, &held.heir).await? {
        let hand_on = format!("REASSIGN OWNED BY {role} TO {heir}; DROP OWNED BY {role}");
        for database in elsewhere(&client, &held.role).await? {
            let of = |fault: MintFault| MintFault { why: format!("in the database `{database}`: {}", fault.why), ..fault };
            let there = PostgresServer { database: database.clone(), ..server.clone() };
            let there = connect(&there, NAME).await.map_err(of)?;
            there.batch_execute(&hand_on).await.map_err(|fault| of(told(&fault)))?;
        }
        is_done(&client, &held.role, &hand_on).await?;
    }
    match is_done(&client, &held.role, &format!("DROP ROLE {role}")).await {
        Err(fault) if !is_there(&client, &held.heir).await? => {
            let why = format!("{}; the role `{}`, which gets what it owns, is gone: create it again", fault.why, held.heir);
            Err(RevokeFault { why, ..fault })
        }
        done => done.map(drop),
    }
}

/// Nobody logs in as this role any more. Its own sessions can hold that up, with a change of the role that they never end: they are ended while
/// it is waited for. Whether the role was there.
async fn locked_out(client: &Client, server: &PostgresServer, role: &str) -> Result<bool, RevokeFault> {
    let (since, statement) = (Instant::now(), format!("ALTER ROLE {} NOLOGIN", escape_identifier(role)));
    loop {
        let mut locked = pin!(is_done(client, role, &statement));
        let mut done = tokio::time::timeout(GLANCE, &mut locked).await.ok();
        if done.is_none() {
            let second = connect(server, NAME).await?;
            while done.is_none() {
                end_once(&second, OF_ROLE, role).await?;
                done = tokio::time::timeout(GLANCE, &mut locked).await.ok();
            }
        }
        match done {
            // Another of its sessions was quicker.
            Some(Err(_)) if since.elapsed() < PATIENCE => {}
            Some(done) => return done,
            None => return Err(RevokeFault::new("it can't be kept from logging in")),
        }
    }
}

async fn elsewhere(client: &Client, role: &str) -> Result<Vec<String>, RevokeFault> {
    let rows = client.query(ELSEWHERE, &[&role]).await.map_err(|fault| told(&fault))?;
    rows.iter().map(|row| column::<String>(row, 0).map_err(RevokeFault::from)).collect()
}

async fn is_there(client: &Client, role: &str) -> Result<bool, RevokeFault> {
    let found = client.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&role]).await;
    Ok(found.map_err(|fault| told(&fault))?.is_some())
}

/// Whether it was done, and not too late: a role that is not there any more is taken back already.
async fn is_done(client: &Client, role: &str, statements: &str) -> Result<bool, RevokeFault> {
    match client.batch_execute(statements).await {
        Ok(()) => Ok(true),
        // It is of any role that a statement names.
        Err(fault) if fault.code() == Some(&SqlState::UNDEFINED_OBJECT) && !is_there(client, role).await? => Ok(false),
        Err(fault) => Err(told(&fault).into()),
    }
}

/// Ends these sessions, until there are none.
async fn end_sessions(client: &Client, whose: &str, value: &str) -> Result<(), RevokeFault> {
    let (since, mut quiet) = (Instant::now(), 0);
    // Twice: whoever was logging in is not in the list yet.
    while quiet < 2 {
        let left = end_once(client, whose, value).await?;
        quiet = if left == 0 { quiet + 1 } else { 0 };
        if since.elapsed() > PATIENCE {
            return Err(RevokeFault::new(format!("{left} of its sessions do not end")));
        }
        if quiet < 2 {
            tokio::time::sleep(GLANCE).await;
        }
    }
    Ok(())
}

/// Tells these sessions to end; how many there were.
async fn end_once(client: &Client, whose: &str, value: &str) -> Result<i64, RevokeFault> {
    let statement =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {whose} AND pid <> pg_backend_pid()");
    let found = client.query_one(&statement, &[&value]).await.map_err(|fault| told(&fault))?;
    Ok(column(&found, 0)?)
}
