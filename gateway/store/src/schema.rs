//! The tables, and which version of them a file holds.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use crate::fault::StoreFault;

/// The version of the tables below.
const VERSION: i64 = 6;

/// The oldest version that was ever written.
const OLDEST: i64 = 1;

/// `BAIL`: marks the file as ours (`sqlite.org/fileformat2.html`, application id).
const APPLICATION: i64 = 0x4241_494C;

const TABLES: &str = "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE agent_tokens (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT;
CREATE TABLE grant_tokens (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    grant_id TEXT NOT NULL,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX grant_tokens_by_grant ON grant_tokens (grant_id);
CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    terms TEXT NOT NULL,
    state TEXT NOT NULL,
    calls INTEGER NOT NULL,
    writes INTEGER NOT NULL,
    labels TEXT NOT NULL,
    spent TEXT NOT NULL DEFAULT '{}',
    created_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    ended_by TEXT,
    ended_reason TEXT
) STRICT;
CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    record TEXT NOT NULL,
    sealed BLOB
) STRICT;
CREATE TABLE pins (
    connector TEXT NOT NULL,
    tool TEXT NOT NULL,
    kind TEXT NOT NULL,
    band TEXT NOT NULL,
    digest TEXT NOT NULL,
    definition TEXT NOT NULL,
    labels TEXT NOT NULL,
    accepted_ms INTEGER NOT NULL,
    accepted_by TEXT NOT NULL,
    classed_by TEXT NOT NULL,
    PRIMARY KEY (connector, tool)
) STRICT, WITHOUT ROWID;
";

/// What makes the tables of version 1 those of version 2. Who gave a tool its class was not kept: of the two, the one that counts for
/// less once the configuration is silent.
const SECOND: &str = "ALTER TABLE pins ADD COLUMN classed_by TEXT NOT NULL DEFAULT 'config'";

/// What makes the tables of version 2 those of version 3, but for [`STOPS`]. Budgets of more than calls and writes were not there: nothing was spent of them.
const THIRD: &str = "ALTER TABLE grants ADD COLUMN spent TEXT NOT NULL DEFAULT '{}'";

/// What raises a file by one version, from the oldest on.
const STEPS: [&str; 2] = [SECOND, THIRD];

/// What people have stopped, since version 3. Written so that it can be done twice: it is part of a new file too.
const STOPS: &str = "
CREATE TABLE IF NOT EXISTS halts (
    what TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL,
    stopped_by TEXT NOT NULL,
    reason TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS disabled_agents (
    what TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL,
    stopped_by TEXT NOT NULL,
    reason TEXT
) STRICT, WITHOUT ROWID;
";

/// What version 4 adds. Written so that it can be done twice: it is part of a new file too.
const FOURTH: &str = "
CREATE TABLE IF NOT EXISTS approval_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    approval TEXT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS channel_positions (
    channel TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passkeys (
    id BLOB PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 1023),
    person TEXT NOT NULL,
    name TEXT NOT NULL,
    cose BLOB NOT NULL,
    count INTEGER NOT NULL,
    backup_eligible INTEGER NOT NULL,
    backed_up INTEGER NOT NULL,
    added_ms INTEGER NOT NULL,
    used_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access_requests (
    id TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grant_extensions (
    grant_id TEXT PRIMARY KEY,
    issue INTEGER NOT NULL,
    extended TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What version 5 adds. Written so that it can be done twice: it is part of a new file too.
const FIFTH: &str = "
CREATE TABLE IF NOT EXISTS kept_bodies (
    call TEXT NOT NULL,
    part TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (call, part)
) STRICT;
CREATE INDEX IF NOT EXISTS kept_bodies_by_age ON kept_bodies (at_ms);
";

/// What version 6 adds: what issuers have not taken back, and to whom passkeys trace. Written so that it can be done twice: it is part of a
/// new file too.
const SIXTH: &str = "
CREATE TABLE IF NOT EXISTS leases (
    id TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    handle BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS passkey_makers (
    passkey BLOB PRIMARY KEY,
    uid INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consents (
    resource TEXT NOT NULL,
    owner TEXT NOT NULL,
    issuer TEXT NOT NULL,
    record TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (resource, owner, issuer)
) STRICT, WITHOUT ROWID;
";

/// And to kept bodies, after [`FIFTH`], where it is not there: whose each body is, and how large. Whatever was kept before is of nobody.
const SIXTH_BODIES: &str = "
ALTER TABLE kept_bodies ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE kept_bodies ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
UPDATE kept_bodies SET size = length(sealed);
CREATE INDEX kept_bodies_by_agent ON kept_bodies (agent, size);
";

/// Makes the file ready for writing, or refuses it.
pub(crate) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreFault> {
    check(connection, path).map_err(|fault| match fault {
        StoreFault::Sql(sql) if is_damage(&sql) => StoreFault::Damaged { path: path.to_owned(), why: sql.to_string() },
        other => other,
    })
}

fn check(connection: &mut Connection, path: &Path) -> Result<(), StoreFault> {
    let number = |connection: &Connection, pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let found = number(connection, "user_version")?;
    let application = number(connection, "application_id")?;
    let is_new = tables == 0 && found == 0 && application == 0;
    if !is_new && application != APPLICATION {
        return Err(StoreFault::Foreign { path: path.to_owned() });
    }
    if found > VERSION {
        return Err(StoreFault::Newer { path: path.to_owned(), found, known: VERSION });
    }
    if !is_new && found < OLDEST {
        let why = format!("its schema is {found}, which no version ever wrote");
        return Err(StoreFault::Damaged { path: path.to_owned(), why });
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    if is_new {
        let making = connection.transaction()?;
        making.execute_batch(TABLES)?;
        making.execute_batch(STOPS)?;
        making.execute_batch(FOURTH)?;
        making.execute_batch(FIFTH)?;
        making.execute_batch(SIXTH)?;
        sixth(&making)?;
        making.pragma_update(None, "application_id", APPLICATION)?;
        making.pragma_update(None, "user_version", VERSION)?;
        making.commit()?;
        return Ok(());
    }
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreFault::Damaged { path: path.to_owned(), why: verdict });
    }
    if found < VERSION {
        let raising = connection.transaction()?;
        let done = usize::try_from(found.saturating_sub(OLDEST)).unwrap_or(usize::MAX);
        STEPS.iter().skip(done).chain([&STOPS, &FOURTH, &FIFTH, &SIXTH]).try_for_each(|step| raising.execute_batch(step))?;
        sixth(&raising)?;
        raising.pragma_update(None, "user_version", VERSION)?;
        raising.commit()?;
    }
    Ok(())
}

fn sixth(connection: &Connection) -> rusqlite::Result<()> {
    let is_there = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('kept_bodies') WHERE name = 'agent')";
    if connection.query_row(is_there, [], |row| row.get(0))? { Ok(()) } else { connection.execute_batch(SIXTH_BODIES) }
}

fn is_damage(fault: &rusqlite::Error) -> bool {
    matches!(fault.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
