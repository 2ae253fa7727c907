//! Variables of the environment lie over the file, and the file over the defaults.

use std::{net::SocketAddr, time::Duration};

use super::rendered;
use crate::{Config, ConfigFaults, FaultCode, load};

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load("config.toml".as_ref(), text.to_owned(), owned)
}

#[test]
fn each_layer_covers_the_one_below() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\nconsole = \"127.0.0.1:2\"\n";
    let variables = [("BAILIWICK_SERVER__LISTEN", "127.0.0.1:3"), ("BAILIWICK_SERVER__MAX_CONNECTIONS", "7")];
    let config = read(text, &variables).unwrap();
    assert_eq!(config.server.listen, SocketAddr::from(([127, 0, 0, 1], 3)));
    assert_eq!(config.server.console, SocketAddr::from(([127, 0, 0, 1], 2)));
    assert_eq!(config.server.max_connections, 7);
    assert_eq!(config.server.header_timeout, Duration::from_secs(10));
}

#[test]
fn a_variable_is_read_as_its_key_wants_it() {
    let variables = [
        ("BAILIWICK_TELEMETRY__SERVICE_NAME", "5"),
        ("BAILIWICK_TELEMETRY__RATIO", "0.25"),
        ("BAILIWICK_APPROVALS__ALLOW_SAME_USER", "true"),
        ("BAILIWICK_SERVER__ALLOWED_HOSTS", "[\"a.example\", \"b.example:1\"]"),
        ("BAILIWICK_LIMITS__MAX_RESULT", "1MiB"),
    ];
    let config = read("", &variables).unwrap();
    assert_eq!(config.telemetry.service_name, "5");
    assert!((config.telemetry.ratio - 0.25).abs() < f64::EPSILON);
    assert!(config.approvals.allow_same_user);
    assert_eq!(config.server.allowed_hosts, ["a.example", "b.example:1"]);
    assert_eq!(config.limits.max_result, 1 << 20);
}

#[test]
fn variables_that_set_nothing_are_let_be() {
    assert!(read("", &[("BAILIWICK_TOKEN", "x"), ("PATH", "/bin"), ("SERVER__LISTEN", "x")]).is_ok());
}

#[test]
fn a_fault_names_its_variable() {
    for (name, value, code, seen) in [
        ("BAILIWICK_SERVER__LISTEN", "here", FaultCode::BadAddress, "`here`"),
        ("BAILIWICK_SERVER__LISTEN", "0.0.0.0:1", FaultCode::RemoteListener, "TLS"),
        ("BAILIWICK_SERVER__LISEN", "127.0.0.1:1", FaultCode::UnknownKey, "did you mean `listen`?"),
        ("BAILIWICK_SERVE__LISTEN", "127.0.0.1:1", FaultCode::UnknownKey, "did you mean `BAILIWICK_SERVER__…`?"),
        ("BAILIWICK_SERVER__MAX_BODY__X", "1", FaultCode::WrongType, "max_body"),
        ("BAILIWICK_APPROVALS__HOLD", "45", FaultCode::BadDuration, "with a unit"),
        ("BAILIWICK_APPROVALS__MAX_PENDING_PER_AGENT", "many", FaultCode::WrongType, "`\"many\"`"),
        ("BAILIWICK_AGENTS__0__ID", "x", FaultCode::NotFromEnvironment, "`[[agents]]`"),
    ] {
        let faults = read("", &[(name, value)]).expect_err(name);
        let [fault] = faults.faults() else { panic!("{}", rendered(&faults)) };
        assert_eq!((fault.fault_code(), fault.variable(), fault.line_and_column()), (code, Some(name), None));
        let shown = rendered(&faults);
        assert!(shown.contains(name) && shown.contains(seen), "{shown}");
    }
}
