use bailiwick_pipeline::grant::Labels;
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::{canonical::digest, names::ConnectorId};
use serde_json::value::RawValue;

use super::{NOW, folder, open, tamper};
use crate::{ClassedBy, Pin, Pins, StoreFault, WriteFault};

fn pin(tool: &str, definition: &str) -> Pin {
    Pin {
        tool: tool.parse().unwrap(),
        kind: Kind::Read,
        band: Band::Low,
        classed_by: ClassedBy::Person,
        digest: digest(&serde_json::from_str(definition).unwrap()),
        definition: RawValue::from_string(definition.to_owned()).unwrap(),
        labels: Labels::UNTRUSTED,
        accepted_at_ms: NOW,
        accepted_by: "ann".to_owned(),
    }
}

fn tickets() -> ConnectorId {
    "tickets".parse().unwrap()
}

#[tokio::test]
async fn accepting_replaces_the_pins_of_one_connector() {
    let data = folder();
    let store = open(&data);
    let pins = Pins::new(&store);
    let odd = "{\"name\": \"get\",\n \"max\":1.50e400, \"b\":1,\"a\":[ ]}";
    pins.accept(&tickets(), vec![pin("get", odd), pin("gone", "{}")]).await.unwrap();
    pins.accept(&"files".parse().unwrap(), vec![pin("read", "{}")]).await.unwrap();
    pins.accept(&tickets(), vec![pin("get", odd), pin("new", "{}")]).await.unwrap();
    drop((store, pins));

    let all = Pins::new(&open(&data)).list().unwrap();
    let names: Vec<_> = all[&tickets()].iter().map(|pin| pin.tool.as_str()).collect();
    assert_eq!((names.as_slice(), all.len()), (["get", "new"].as_slice(), 2));
    let get = &all[&tickets()][0];
    assert_eq!(get.definition.get(), odd, "kept as written");
    assert_eq!(get.classed_by, ClassedBy::Person);
    assert_eq!((get.kind, get.band, get.labels.is_untrusted(), get.accepted_at_ms), (Kind::Read, Band::Low, true, NOW));
}

#[tokio::test]
async fn accepting_is_all_or_nothing() {
    let data = folder();
    let store = open(&data);
    let pins = Pins::new(&store);
    pins.accept(&tickets(), vec![pin("get", "{}")]).await.unwrap();
    let twice = pins.accept(&tickets(), vec![pin("a", "{}"), pin("a", "{}")]).await;
    assert!(matches!(twice, Err(WriteFault::Conflict(_))));
    let mut lying = pin("b", "{}");
    lying.digest = digest(&serde_json::json!(1));
    assert!(matches!(pins.accept(&tickets(), vec![lying]).await, Err(WriteFault::Unstorable(_))));
    assert_eq!(pins.list().unwrap()[&tickets()][0].tool.as_str(), "get");
    pins.accept(&tickets(), vec![]).await.unwrap();
    assert!(pins.list().unwrap().is_empty());
}

/// Else pinning at first use would bring back what an admin did not want.
#[tokio::test]
async fn that_nothing_was_accepted_is_kept() {
    let data = folder();
    let store = open(&data);
    let pins = Pins::new(&store);
    assert!(!pins.were_accepted(&tickets()).unwrap());
    pins.accept(&tickets(), vec![pin("get", "{}")]).await.unwrap();
    pins.accept(&tickets(), vec![]).await.unwrap();
    drop((store, pins));
    let pins = Pins::new(&open(&data));
    assert!(pins.list().unwrap().is_empty() && pins.were_accepted(&tickets()).unwrap());
    assert!(!pins.were_accepted(&"files".parse().unwrap()).unwrap());
}

/// A file of the first version of the tables.
#[tokio::test]
async fn a_pin_that_does_not_say_who_classed_it_counts_as_classed_by_the_configuration() {
    let data = folder();
    let store = open(&data);
    Pins::new(&store).accept(&tickets(), vec![pin("get", "{}")]).await.unwrap();
    drop(store);
    tamper(data.path(), "ALTER TABLE pins DROP COLUMN classed_by; ALTER TABLE grants DROP COLUMN spent; PRAGMA user_version = 1");
    for _ in 0..2 {
        let get = Pins::new(&open(&data)).list().unwrap()[&tickets()][0].clone();
        assert_eq!((get.tool.as_str(), get.kind, get.classed_by), ("get", Kind::Read, ClassedBy::Config));
    }
    let both = vec![Pin { classed_by: ClassedBy::Config, ..pin("get", "{}") }, pin("new", "{}")];
    let store = open(&data);
    Pins::new(&store).accept(&tickets(), both).await.unwrap();
    let pins = Pins::new(&store).list().unwrap();
    let classed: Vec<_> = pins[&tickets()].iter().map(|pin| pin.classed_by).collect();
    assert_eq!(classed, [ClassedBy::Config, ClassedBy::Person]);
}

#[tokio::test]
async fn a_changed_definition_is_noticed() {
    let data = folder();
    let store = open(&data);
    let pins = Pins::new(&store);
    pins.accept(&tickets(), vec![pin("get", "{}")]).await.unwrap();
    tamper(data.path(), "UPDATE pins SET definition = '{\"evil\":1}'");
    let fault = pins.list().unwrap_err();
    assert!(matches!(fault, StoreFault::Row { table: "pins", .. }), "{fault}");
    assert!(fault.to_string().contains("tickets__get"), "{fault}");
}
