//! One configuration for each kind of fault.

use std::collections::BTreeSet;

use super::{
    BASE,
    cases::{CHANNELS, CONNECTORS, FILES, GRANTS, ISSUERS, LENT as OF_DATABASES, PROVIDERS},
    lent_cases::{ISSUERS_OF_CREDENTIALS, LENT, PLACES},
    read,
};
use crate::{FaultCode, FaultCode as Code, load};

/// The connector of [`BASE`] with these further lines.
fn connector(lines: &str) -> String {
    format!("{BASE}{lines}\n")
}

/// A grant of [`BASE`] with these further lines; `tools` is theirs.
fn grant(lines: &str) -> String {
    format!("{BASE}[[grants]]\nid = \"g\"\nagent = \"bot\"\npurpose = \"test\"\n{lines}\n")
}

/// The connector of [`BASE`] with this credential, and two providers.
fn of_databases(credential: &str) -> String {
    let bao = "[[providers]]\nid = \"bao\"\nopenbao = { url = \"https://bao.example\", token_file = \"t\" }\n";
    let postgres = "[[providers]]\nid = \"pg\"\npostgres = { url = \"postgresql://b@localhost/a\" }\n";
    format!("{BASE}credential = {{ {credential} }}\n{bao}{postgres}")
}

/// What is written, the one fault it has, and what of its message, help or suggestion must be seen.
fn cases() -> Vec<(String, Code, &'static str)> {
    let files =
        FILES.iter().chain(ISSUERS).chain(CHANNELS).chain(PROVIDERS).map(|(text, code, seen)| ((*text).to_owned(), *code, *seen));
    let connectors = CONNECTORS.iter().map(|(lines, code, seen)| (connector(lines), *code, *seen));
    let grants = GRANTS.iter().map(|(lines, code, seen)| (grant(lines), *code, *seen));
    let issuers = ISSUERS_OF_CREDENTIALS.iter().map(|(lines, code, seen)| (provider(lines), *code, *seen));
    let lent = LENT.iter().map(|(keys, code, seen)| (lent(keys), *code, *seen));
    let usual = "inject = { variables = { T = \"{password}\" } }";
    let of_databases =
        OF_DATABASES.iter().map(|(words, code, seen)| (self::of_databases(&format!("{words}, {usual}")), *code, *seen));
    let of_databases = of_databases.chain(PLACES.iter().map(|(words, code, seen)| (self::of_databases(words), *code, *seen)));
    files.chain(connectors).chain(grants).chain(issuers).chain(lent).chain(of_databases).collect()
}

/// A provider with these lines.
fn provider(lines: &str) -> String {
    format!("[[providers]]\nid = \"p\"\n{lines}\n{BASE}")
}

/// The connector of [`BASE`] with these keys of its credential, and a provider of each kind.
fn lent(keys: &str) -> String {
    let providers = "[[providers]]\nid = \"oauth\"\n\
                     oauth = { issuer = \"https://l.example\", client_id = \"c\", client_secret_file = \"s\" }\n\
                     [[providers]]\nid = \"github\"\ngithub = { app = \"a\", installation = 1, key_file = \"k\" }\n\
                     [[providers]]\nid = \"aws\"\n\
                     aws = { region = \"eu-west-1\", access_key_id = \"A\", secret_access_key_file = \"s\" }\n";
    format!("{providers}{BASE}credential = {{ {keys}, inject = {{ env = \"T\" }} }}\n")
}

#[test]
fn each_fault_is_the_only_one_and_says_what_to_do() {
    let wrong: Vec<_> = cases().iter().filter_map(|(text, code, seen)| objection(text, *code, seen)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n----\n"));
}

/// What is wrong with how this faulty configuration is explained.
fn objection(text: &str, code: FaultCode, seen: &str) -> Option<String> {
    let Err(faults) = read(text) else {
        return Some(format!("{text}\nhas no fault"));
    };
    let [fault] = faults.faults() else {
        return Some(format!("{text}\nhas several\n{}", super::rendered(&faults)));
    };
    let (help, meant) = (fault.advice().unwrap_or_default(), fault.suggestion().unwrap_or_default());
    let shown = format!("{}\n{fault}\n{help}\n{meant}", fault.fault_code());
    let is_good = fault.fault_code() == code && shown.contains(seen) && !help.is_empty() && fault.line_and_column().is_some();
    (!is_good).then(|| format!("{text}\nwanted {code} with {seen}\n{shown}"))
}

#[test]
fn messages_are_lower_case_and_have_no_full_stop() {
    for (text, ..) in cases() {
        for fault in read(&text).unwrap_err().faults() {
            let message = fault.to_string();
            assert!(!message.starts_with(char::is_uppercase) && !message.ends_with('.'), "{message}");
            let help = fault.advice().unwrap_or_default();
            assert!(!help.starts_with(char::is_uppercase) && !help.ends_with('.'), "{help}");
        }
    }
}

#[test]
fn every_code_has_a_case() {
    // Those of the environment, of what is there, and of our own mistakes have tests of their own.
    let elsewhere = [FaultCode::NotFromEnvironment, FaultCode::UnknownTool, FaultCode::NotFound, FaultCode::Unreadable];
    let seen: BTreeSet<_> = cases().into_iter().map(|(_, code, _)| code).chain(elsewhere).collect();
    for code in FaultCode::ALL {
        assert!(seen.contains(code), "{code}");
    }
}

#[test]
fn a_bad_file_never_panics() {
    for text in ["", "\u{feff}", "=", "a.b.c.d = 1", "[[server]]", "agents = {}", "[agents]\nid = 1", "grants = [[]]", "\"\" = 1"]
    {
        let _ = load("x.toml".as_ref(), text.to_owned(), []);
    }
}
