//! Worlds, judged and served.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use bailiwick_policy::{Band, Kind};
use bailiwick_store::ClassedBy;
use serde_json::value::to_raw_value;

use super::*;

/// The demo's configuration with its tools pinned.
fn worlds() -> LiveWorlds {
    let config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
    let pins = config.connectors.iter().map(|connector| (connector.id.clone(), pins(connector)));
    let policies = vec![PolicyText { name: "default".to_owned(), text: bailiwick_policy::DEFAULT_BUNDLE.to_owned(), path: None }];
    LiveWorlds::new(&config, pins.collect(), policies).unwrap()
}

fn pins(connector: &bailiwick_config::Connector) -> Vec<Pin> {
    let demo: bailiwick_demo::Demo = connector.process().unwrap().arguments.last().unwrap().parse().unwrap();
    crate::pinning::pins_of(connector, &crate::pinning::as_text(bailiwick_demo::definitions(demo).as_array().unwrap()), 1)
}

fn tickets() -> ConnectorId {
    "tickets".parse().unwrap()
}

#[test]
fn a_drifted_tool_goes_once_and_nothing_else_is_made_anew() {
    let worlds = worlds();
    let before = worlds.now();
    let get: ToolName = "get".parse().unwrap();
    assert_eq!(worlds.drift(&tickets(), &[(get.clone(), None)]).len(), 1);
    let after = worlds.now();
    assert_eq!((after.epoch, after.count()), (before.epoch + 1, before.count() - 1));
    assert!(after.tool("tickets__get").is_none());
    assert!(Arc::ptr_eq(&before.policies, &after.policies));
    for tool in after.tools() {
        assert!(Arc::ptr_eq(tool, before.tool(tool.name.as_str()).unwrap()), "{tool:?}");
    }
    // Each further call that finds it so tells it again: the world stays the same one.
    assert_eq!(worlds.drift(&tickets(), &[(get.clone(), None)]), []);
    assert!(Arc::ptr_eq(&worlds.now(), &after));
}

/// One changed definition: the tools of the other connectors are the very same, compiled once.
#[test]
fn what_stays_as_it_is_is_not_compiled_again() {
    let worlds = worlds();
    let before = worlds.now();
    let mut pins = worlds.pins()[&tickets()].clone();
    pins.truncate(3);
    let judged = worlds.judge(&tickets(), pins).unwrap();
    worlds.serve(judged);
    let is_same = |tool: &Arc<Tool>| before.tool(tool.name.as_str()).is_some_and(|old| Arc::ptr_eq(old, tool));
    let of_others = |tool: &Arc<Tool>| tool.connector.id != tickets();
    let now = worlds.now();
    assert_eq!(now.count(), before.tools().filter(|tool| of_others(tool)).count() + 3);
    assert!(now.tools().all(|tool| is_same(tool) == of_others(tool)));
    // So it is with another configuration: one connector is otherwise now, and one of the pins.
    let mut config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
    config.connectors.iter_mut().find(|connector| connector.id.as_str() == "files").unwrap().sensitivity =
        bailiwick_config::Sensitivity::Confidential;
    let mut pins = BTreeMap::clone(&worlds.pins());
    pins.get_mut("shop").unwrap().pop();
    let before = worlds.now();
    let judged = worlds.judge_config(&config, pins, Vec::new()).unwrap();
    worlds.serve_config(judged);
    let is_same = |tool: &Arc<Tool>| before.tool(tool.name.as_str()).is_some_and(|old| Arc::ptr_eq(old, tool));
    assert!(worlds.now().tools().all(|tool| is_same(tool) == (tool.connector.id == tickets())));
}

/// A drift takes a tool out, and gives no other one its name.
#[test]
fn names_change_by_what_an_admin_does_alone() {
    let text = bailiwick_config::DEMO.replace("[[connectors]]\n", "[[connectors]]\nprefix = \"never\"\n");
    let config = bailiwick_config::embedded(&text, []).unwrap();
    let pins: BTreeMap<ConnectorId, Vec<Pin>> =
        config.connectors.iter().map(|connector| (connector.id.clone(), pins(connector))).collect();
    let worlds = LiveWorlds::new(&config, pins.clone(), Vec::new()).unwrap();
    let exposed = |worlds: &LiveWorlds, name: &str| worlds.now().tool(name).map(|tool| worlds.now().exposed(tool).to_owned());
    // Two of the demo's connectors can search.
    assert_eq!(exposed(&worlds, "tickets__search").as_deref(), Some("tickets__search"));
    assert_eq!(exposed(&worlds, "files__search").as_deref(), Some("files__search"));
    assert_eq!(worlds.drift(&tickets(), &[("search".parse().unwrap(), None)]).len(), 1);
    assert_eq!(exposed(&worlds, "files__search").as_deref(), Some("files__search"));
    assert!(worlds.now().called("search").is_none());
    // Whoever accepts the connector's tools without that one gives the other its bare name.
    let left = pins[&tickets()].iter().filter(|pin| pin.tool.as_str() != "search").cloned().collect();
    let judged = worlds.judge(&tickets(), left).unwrap();
    worlds.serve(judged);
    assert_eq!(exposed(&worlds, "files__search").as_deref(), Some("search"));
    assert_eq!(worlds.now().called("search").map(|tool| tool.name.to_string()).as_deref(), Some("files__search"));
    assert!(worlds.now().called("files__search").is_none());
}

/// Whether its stored pin was made anew since or not: what the configuration said counts for as long as it says so.
#[test]
fn a_class_that_left_the_configuration_is_none() {
    let mut config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
    let before = worlds();
    let (get, name): (ToolName, QualifiedName) = ("get".parse().unwrap(), "tickets__get".parse().unwrap());
    let class = |tool: &Tool| (tool.kind, tool.band);
    assert_eq!(class(before.now().tool("tickets__get").unwrap()), (Kind::Read, Band::Low));
    let connector = config.connectors.iter_mut().find(|connector| connector.id == tickets()).unwrap();
    let line = connector.tools.remove(&get).unwrap();
    let mut pins = BTreeMap::clone(&before.pins());
    let of = |config: &Config, pins: &BTreeMap<ConnectorId, Vec<Pin>>| {
        class(before.judge_config(config, pins.clone(), Vec::new()).unwrap().tool(&name).unwrap())
    };
    assert_eq!(of(&config, &pins), (Kind::Execute, Band::High));
    // What a person was shown and has accepted counts where the configuration is silent, and nowhere else.
    let pin = pins.get_mut(&tickets()).unwrap().iter_mut().find(|pin| pin.tool == get).unwrap();
    (pin.kind, pin.band, pin.classed_by) = (Kind::Write, Band::Medium, ClassedBy::Person);
    assert_eq!(of(&config, &pins), (Kind::Write, Band::Medium));
    config.connectors.iter_mut().find(|connector| connector.id == tickets()).unwrap().tools.insert(get, line);
    assert_eq!(of(&config, &pins), (Kind::Read, Band::Low));
}

#[test]
fn another_way_to_a_server_is_another_connector() {
    let credential =
        "credential = { provider = \"file\", path = \"/t\", inject = { header = \"Authorization\", prefix = \"Bearer \" } }";
    let ways = [
        "command = [\"/bin/t\"]".to_owned(),
        "command = [\"/bin/t\", \"x\"]".to_owned(),
        "url = \"https://t.example/mcp\"".to_owned(),
        "url = \"https://t.example/mcp/\"".to_owned(),
        "url = \"https://t.example/mcp\"\nnetworks = [\"10.1.0.0/16\"]".to_owned(),
        "url = \"https://t.example/mcp\"\nroots = \"/ca.pem\"".to_owned(),
        "url = \"https://t.example/mcp\"\nprotocol = \"legacy\"".to_owned(),
        "url = \"https://t.example/mcp\"\ndangerous_plain_http = true".to_owned(),
        "url = \"https://t.example/mcp\"\nshared = true".to_owned(),
        format!("url = \"https://t.example/mcp\"\n{credential}"),
        format!("url = \"https://t.example/mcp\"\n{}", credential.replace("Authorization", "X-Key")),
        format!("url = \"https://t.example/mcp\"\n{}", credential.replace("Bearer ", "")),
    ];
    let fingerprints = ways.iter().map(|way| {
        let config = bailiwick_config::embedded(&format!("[[connectors]]\nid = \"t\"\n{way}\n"), []).unwrap();
        fingerprint(&config.connectors[0]).to_string()
    });
    assert_eq!(fingerprints.collect::<BTreeSet<_>>().len(), ways.len());
}

#[test]
fn judging_changes_nothing_and_serving_takes_back_what_drifted() {
    let worlds = worlds();
    let (get, files): (ToolName, ConnectorId) = ("get".parse().unwrap(), "files".parse().unwrap());
    worlds.drift(&tickets(), &[(get.clone(), None)]);
    let before = worlds.now();
    let mut other = worlds.pins()[&tickets()].clone();
    other.retain(|pin| pin.tool == get);
    let judged = worlds.judge(&tickets(), other).unwrap();
    assert!(Arc::ptr_eq(&worlds.now(), &before) && worlds.pins()[&tickets()].len() > 1);
    // What drifts elsewhere meanwhile stays out.
    worlds.drift(&files, &[("read".parse().unwrap(), None)]);
    worlds.serve(judged);
    let after = worlds.now();
    assert!(after.epoch > before.epoch + 1);
    assert!(after.tool("tickets__get").is_some() && after.tool("tickets__search").is_none());
    assert!(after.tool("files__read").is_none());
    assert_eq!(worlds.drifted().len(), 1);
}

#[test]
fn another_configuration_is_in_force_as_a_whole_and_what_drifted_stays_out() {
    let worlds = worlds();
    worlds.drift(&tickets(), &[("get".parse().unwrap(), None)]);
    let before = worlds.now();
    let mut config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
    config.connectors.retain(|connector| connector.id != "files".parse().unwrap());
    let text = "@id(\"none\") forbid (principal, action, resource);".to_owned();
    let policies = vec![PolicyText { name: "p".to_owned(), text, path: None }];
    let judged = worlds.judge_config(&config, BTreeMap::clone(&worlds.pins()), policies.clone()).unwrap();
    assert!(Arc::ptr_eq(&worlds.now(), &before), "judging changes nothing");
    let digest = judged.policy_digest();
    worlds.serve_config(judged);
    let after = worlds.now();
    assert_eq!((after.epoch, &after.policy_digest), (before.epoch + 1, &digest));
    assert!(after.tools().all(|tool| tool.connector.id.as_str() != "files") && after.tool("tickets__get").is_none());
    // A connector that is another program by now shows its tools anew.
    let moved = config.connectors.iter_mut().find(|connector| connector.id == tickets()).unwrap();
    let bailiwick_config::Way::Process(process) = &mut moved.way else { unreachable!() };
    process.env.insert("A".to_owned(), "b".to_owned());
    let moved = worlds.judge_config(&config, BTreeMap::clone(&worlds.pins()), policies).unwrap();
    worlds.serve_config(moved);
    assert!(worlds.now().tool("tickets__get").is_some());
}

#[test]
fn a_definition_that_does_not_read_is_unusable_and_said_so() {
    let worlds = worlds();
    let mut bad = worlds.pins()[&tickets()].clone();
    bad.truncate(1);
    for pin in &mut bad {
        pin.definition = to_raw_value(&serde_json::json!({"name": "get"})).unwrap();
    }
    let judged = worlds.judge(&tickets(), bad).unwrap();
    worlds.serve(judged);
    assert_eq!(worlds.unusable().len(), 1);
    assert!(worlds.now().tools().all(|tool| tool.connector.id != tickets()));
}
