//! What is in force is shown with where it comes from, and loads again as it is shown.

use serde_json::json;

use super::{BASE, config, read};
use crate::{Config, DEMO, Origin, embedded, load};

fn of<'s>(settings: &'s [crate::Setting], key: &str) -> &'s crate::Setting {
    settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key} is not among {settings:#?}"))
}

#[test]
fn every_value_says_who_set_it() {
    let text = format!("[server]\nlisten = \"127.0.0.1:1\"\n{BASE}tools.get = {{ kind = \"read\" }}\n");
    let variables = [("BAILIWICK_SERVER__MAX_BODY".to_owned(), "1MiB".to_owned())];
    let settings = load("config.toml".as_ref(), text, variables).unwrap().settings();
    for (key, value, origin) in [
        ("server.listen", json!("127.0.0.1:1"), Origin::File { line: 2 }),
        ("server.max_body", json!("1MiB"), Origin::Variable("BAILIWICK_SERVER__MAX_BODY".to_owned())),
        ("server.console", json!("127.0.0.1:8932"), Origin::Default),
        ("agents[0].id", json!("bot"), Origin::File { line: 5 }),
        ("agents[0].ceiling", json!("high"), Origin::Default),
        ("connectors[0].command", json!(["/bin/tickets"]), Origin::File { line: 9 }),
        ("connectors[0].tools.get.kind", json!("read"), Origin::File { line: 10 }),
        ("connectors[0].tools.get.band", json!("high"), Origin::Default),
    ] {
        let setting = of(&settings, key);
        assert_eq!((&setting.value, &setting.origin), (&value, &origin), "{key}");
    }
    assert!(settings.iter().all(|setting| !setting.value.is_null()), "{settings:#?}");
}

#[test]
fn entries_are_found_by_their_id() {
    let config = config(BASE);
    assert_eq!((config.line_of("agents", "bot"), config.line_of("connectors", "tickets")), (Some(3), Some(6)));
    assert_eq!((config.line_of("agents", "tickets"), config.line_of("nothing", "bot")), (None, None));
    assert_eq!(config.origin_of("server", "listen"), Origin::Default);
}

fn parts(config: &Config) -> String {
    let Config { server, approvals, policy, trail, telemetry, limits, issuers, agents, connectors, grants, .. } = config;
    format!("{server:?}{approvals:?}{policy:?}{trail:?}{telemetry:?}{limits:?}{issuers:?}{agents:?}{connectors:?}{grants:?}")
}

#[test]
fn what_is_shown_loads_again_as_the_same() {
    let example = config(include_str!("../../../../config.example.toml"));
    let again = read(&example.to_toml()).unwrap_or_else(|faults| panic!("{}\n{}", super::rendered(&faults), example.to_toml()));
    assert_eq!(parts(&again), parts(&example));
    assert_eq!(again.to_toml(), example.to_toml());
    let demo = embedded(DEMO, []).unwrap();
    assert_eq!(parts(&embedded(&demo.to_toml(), []).unwrap()), parts(&demo));
}

#[test]
fn what_is_shown_is_pleasant() {
    let text = config(BASE).to_toml();
    assert!(text.starts_with("[server]\nlisten = \"127.0.0.1:8931\"\n"), "{text}");
    assert!(text.contains("\n[[connectors]]\nid = \"tickets\"\ncommand = [\"/bin/tickets\"]\n"), "{text}");
    assert!(!text.contains("[[grants]]") && !text.contains("{}"), "{text}");
    let tools = config(&format!("{BASE}tools.get = {{ kind = \"read\" }}\n")).to_toml();
    assert!(tools.contains("\ntools.get = { kind = \"read\", band = \"high\", undeclared = \"refuse\", cost = 1 }\n"), "{tools}");
}
