//! What is named, held against what is there.

use std::path::Path;

use bailiwick_schemas::names::QualifiedName;

use super::{BASE, config};
use crate::{FaultCode, Found, Sought};

fn names(known: &[&str]) -> Vec<QualifiedName> {
    known.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn tools_that_nobody_accepted_are_shown_with_what_was_meant() {
    let text = format!(
        "{BASE}tools.serach = {{ kind = \"read\" }}\n[[grants]]\nid = \"g\"\nagent = \"bot\"\npurpose = \"p\"\n\
         tools = [\"tickets__get\", \"tickets__refnud\", \"tickets__*\"]\n"
    );
    let config = config(&text);
    let faults = config.check_against(&names(&["tickets__get", "tickets__search", "tickets__refund", "shop__x"]));
    let shown: Vec<_> = faults.iter().map(|fault| (fault.key(), fault.suggestion())).collect();
    assert_eq!(
        shown,
        [("connectors[0].tools.serach".to_owned(), Some("search")), ("grants[0].tools[1]".to_owned(), Some("tickets__refund")),]
    );
    assert!(faults.iter().all(|fault| fault.fault_code() == FaultCode::UnknownTool));
    assert_eq!(faults[0].to_string(), "the connector `tickets` has no tool `serach`");
    assert_eq!(faults[1].line_and_column().map(|(line, _)| line), Some(13));
}

#[test]
fn a_connector_without_accepted_tools_is_let_be() {
    let config = config(&format!("{BASE}tools.x = {{}}\n"));
    assert!(config.check_against(&names(&["shop__x"])).is_empty());
}

#[test]
fn what_is_not_there_is_shown() {
    let text = format!(
        "[policy]\nfiles = [\"p/*.cedar\", \"a.cedar\"]\n{BASE}cwd = \"/work\"\n\
         credential = {{ provider = \"env\", name = \"SECRET\", inject = {{ env = \"T\" }} }}\n\
         [[connectors]]\nid = \"shop\"\ncommand = [\"/bin/shop\"]\n\
         credential = {{ provider = \"file\", path = \"s\", inject = {{ env = \"T\" }} }}\n\
         [[connectors]]\nid = \"mail\"\nurl = \"https://mail.example.com/mcp\"\nroots = \"ca.pem\"\n"
    );
    let config = config(&text);
    assert!(config.check_presence(Path::new("/data"), |_| Found::Fit).is_empty());
    let faults = config.check_presence(Path::new("/data"), |sought| match sought {
        Sought::Program(_) => Found::Unfit("can be changed by others".to_owned()),
        _ => Found::Missing,
    });
    let shown: Vec<_> = faults.iter().map(|fault| (fault.key(), fault.to_string())).collect();
    let expected = [
        ("policy.files[0]", "the folder `/etc/bailiwick/p` of the policies is not there"),
        ("policy.files[1]", "the policy file `/etc/bailiwick/a.cedar` of the policies is not there"),
        ("connectors[0].command[0]", "the program `/bin/tickets` of the connector `tickets` can be changed by others"),
        ("connectors[0].cwd", "the folder `/work` of the connector `tickets` is not there"),
        ("connectors[0].credential.name", "the variable `SECRET` of the connector `tickets` is not there"),
        ("connectors[1].command[0]", "the program `/bin/shop` of the connector `shop` can be changed by others"),
        ("connectors[1].credential.path", "the secret `/etc/bailiwick/s` of the connector `shop` is not there"),
        (
            "connectors[2].roots",
            "the file of certificate authorities `/etc/bailiwick/ca.pem` of the connector `mail` is not there",
        ),
    ];
    assert_eq!(shown, expected.map(|(key, message)| (key.to_owned(), message.to_owned())));
    assert!(faults.iter().all(|fault| fault.fault_code() == FaultCode::NotFound && fault.line_and_column().is_some()));
}

#[test]
fn what_tls_needs_and_is_not_there_is_shown() {
    let text = "[server.tls]\ncertificate = \"tls/s.pem\"\nkey = \"/k.pem\"\n\
         [[trust_domains]]\nname = \"a.example\"\nbundle_file = \"a.json\"\n\
         [[trust_domains]]\nname = \"b.example\"\nbundle_url = \"https://b.example/\"\nca_file = \"b.pem\"\n\
         [[trust_domains]]\nname = \"c.example\"\nbundle_url = \"https://c.example/\"\n";
    let config = config(text);
    assert!(config.check_presence(Path::new("/data"), |_| Found::Fit).is_empty());
    let faults = config.check_presence(Path::new("/data"), |sought| match sought {
        Sought::SecretFile(_) => Found::Unfit("can be read by others".to_owned()),
        _ => Found::Missing,
    });
    let shown: Vec<_> = faults.iter().map(|fault| (fault.key(), fault.to_string())).collect();
    let expected = [
        ("server.tls.certificate", "the certificate `/etc/bailiwick/tls/s.pem` of the TLS listener is not there"),
        ("server.tls.key", "the secret `/k.pem` of the TLS listener can be read by others"),
        ("trust_domains[0].bundle_file", "the bundle `/etc/bailiwick/a.json` of the trust domain `a.example` is not there"),
        (
            "trust_domains[1].ca_file",
            "the file of certificate authorities `/etc/bailiwick/b.pem` of the trust domain `b.example` is not there",
        ),
    ];
    assert_eq!(shown, expected.map(|(key, message)| (key.to_owned(), message.to_owned())));
    assert!(faults.iter().all(|fault| fault.line_and_column().is_some()));
}

#[test]
fn what_an_issuer_names_is_looked_for_too() {
    let text = "[[issuers]]\nid = \"corp\"\nissuer = \"https://i.example\"\nroots = \"ca.pem\"\n\
                [[issuers]]\nid = \"file\"\nissuer = \"https://j.example\"\njwks_file = \"keys.json\"\n";
    let faults = config(text).check_presence(Path::new("/data"), |sought| match sought {
        Sought::Keys(_) => Found::Missing,
        _ => Found::Unfit("can be changed by everybody".to_owned()),
    });
    let shown: Vec<_> = faults.iter().map(|fault| (fault.key(), fault.to_string())).collect();
    let expected = [
        (
            "issuers[0].roots",
            "the file of certificate authorities `/etc/bailiwick/ca.pem` of the issuer `corp` can be changed by everybody",
        ),
        ("issuers[1].jwks_file", "the file of keys `/etc/bailiwick/keys.json` of the issuer `file` is not there"),
    ];
    assert_eq!(shown, expected.map(|(key, message)| (key.to_owned(), message.to_owned())));
}
