//! `postgres` of `[[providers]]`.

use url::Url;

use super::file;
use crate::{check::Setting, code::FaultCode, fault::Findings, provider::Postgres, raw::RawPostgres, source::KeyPath};

/// The port that PostgreSQL has.
const PORT: u16 = 5432;

pub(super) fn checked(raw: &RawPostgres, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<Postgres> {
    let mut file = |key: &str, given: &Option<String>| {
        given.as_deref().and_then(|given| file(Some(given), &path.key(key), setting, findings))
    };
    let password_file = file("password_file", &raw.password_file);
    let socket = file("socket", &raw.socket);
    let roots = file("roots", &raw.roots);
    let given = raw.url.as_deref()?;
    let url = Url::parse(given).ok().filter(|url| {
        let is_whole = matches!(url.scheme(), "postgresql" | "postgres") && !url.username().is_empty();
        is_whole && url.query().is_none() && url.fragment().is_none() && (url.host_str().is_some() || socket.is_some())
    });
    let at = path.key("url");
    let database = url.as_ref().map(|url| plain_text(url.path().trim_start_matches('/'))).unwrap_or_default();
    let Some(url) = url.filter(|_| database.as_deref().is_some_and(|name| !name.is_empty() && !name.contains('/'))) else {
        // A password could stand in it.
        let fault = findings.value(&at, FaultCode::BadUrl, "this is not the URL of a PostgreSQL database");
        fault.help("write it as in `postgresql://bailiwick@db.example:5432/app`, without a query");
        return None;
    };
    if url.password().is_some() {
        let message = "a password does not belong into the configuration";
        findings
            .value(&at, FaultCode::BadUrl, message)
            .help("write it into a file of its own, and name that with `password_file`");
        return None;
    }
    Some(Postgres {
        host: url.host_str().unwrap_or("localhost").to_owned(),
        port: url.port().unwrap_or(PORT),
        database: database?,
        user: plain_text(url.username())?,
        password_file,
        socket,
        roots,
    })
}

/// What stands behind the percent signs.
fn plain_text(text: &str) -> Option<String> {
    let form = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
    let value = url::form_urlencoded::parse(form.as_bytes()).next()?.1.into_owned();
    (!value.contains('\u{fffd}') && !value.contains('\0')).then_some(value)
}
