//! Pins: the tool definitions that admins accepted.

use std::collections::BTreeMap;

use bailiwick_pipeline::grant::Labels;
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::{
    canonical::{self, Digest},
    names::{ConnectorId, ToolName},
};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    fault::{StoreFault, WriteFault},
    rows::{self, Place, column, to_json},
    store::{Store, put_meta},
};

/// Who gave a tool its class: its kind and its band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassedBy {
    /// The configuration, by a line or by its silence: it counts for as long as it says so.
    Config,
    /// A person, who was shown it and accepted it. It counts where the configuration is silent.
    Person,
}

impl ClassedBy {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Person => "person",
        }
    }
}

/// One tool as an admin accepted it.
#[derive(Debug, Clone, Serialize)]
pub struct Pin {
    /// Its name at its connector.
    pub tool: ToolName,
    /// What it does.
    pub kind: Kind,
    /// How risky it is.
    pub band: Band,
    /// Who says so.
    pub classed_by: ClassedBy,
    /// The digest of the canonical form of its whole definition.
    pub digest: Digest,
    /// The definition, as its server wrote it.
    pub definition: Box<RawValue>,
    /// What its results are marked with.
    pub labels: Labels,
    /// When it was accepted, unix milliseconds.
    pub accepted_at_ms: u64,
    /// By whom.
    pub accepted_by: String,
}

/// The pins in the store.
#[derive(Debug, Clone)]
pub struct Pins {
    store: Store,
}

impl Pins {
    /// Over this store.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// All pins, by connector and tool. A definition that isn't what its digest says is refused: somebody changed the file.
    pub fn list(&self) -> Result<BTreeMap<ConnectorId, Vec<Pin>>, StoreFault> {
        let sql = "SELECT connector, tool, kind, band, digest, definition, labels, accepted_ms, accepted_by, classed_by FROM pins \
                   ORDER BY connector, tool";
        let connection = self.store.read();
        let stored = rows::all(&connection, sql, |row| row.try_into())?;
        drop(connection);
        let mut pins: BTreeMap<ConnectorId, Vec<Pin>> = BTreeMap::new();
        for row in stored {
            let (connector, pin) = read(row)?;
            pins.entry(connector).or_default().push(pin);
        }
        Ok(pins)
    }

    /// Whether pins of this connector were ever accepted, be it that none of its tools was.
    pub fn were_accepted(&self, connector: &ConnectorId) -> Result<bool, StoreFault> {
        self.store.meta(&marker(connector)).map(|found| found.is_some())
    }

    /// Replaces all pins of this connector, or none of them.
    pub async fn accept(&self, connector: &ConnectorId, pins: Vec<Pin>) -> Result<(), WriteFault> {
        for pin in &pins {
            if digest_of(&pin.definition).map_err(WriteFault::Unstorable)? != pin.digest {
                return Err(WriteFault::Unstorable(format!("the definition of `{}` isn't what its digest says", pin.tool)));
            }
        }
        let connector = connector.clone();
        let pins = pins.into_iter().map(|pin| to_json(&pin.labels).map(|labels| (pin, labels))).collect::<Result<Vec<_>, _>>()?;
        self.store
            .write(move |connection| {
                put_meta(connection, &marker(&connector), "yes")?;
                connection.execute("DELETE FROM pins WHERE connector = ?1", [connector.as_str()])?;
                pins.iter().try_for_each(|(pin, labels)| insert(connection, &connector, pin, labels))
            })
            .await
    }
}

/// Where it is kept that pins of this connector were accepted: an empty list leaves no other trace.
fn marker(connector: &ConnectorId) -> String {
    format!("pins_accepted:{connector}")
}

type Stored = (String, String, String, String, String, String, String, i64, String, String);

fn read(stored: Stored) -> Result<(ConnectorId, Pin), StoreFault> {
    let (connector, tool, kind, band, digest, definition, labels, accepted, accepted_by, classed_by) = stored;
    let row = format!("{connector}__{tool}");
    let place = Place { table: "pins", row: &row };
    let pin = Pin {
        tool: place.parse(&tool)?,
        kind: place.word(&kind)?,
        band: place.word(&band)?,
        classed_by: place.word(&classed_by)?,
        digest: place.parse(&digest)?,
        definition: RawValue::from_string(definition).map_err(|fault| place.fault(&fault))?,
        labels: place.json(&labels)?,
        accepted_at_ms: place.number(accepted)?,
        accepted_by,
    };
    if digest_of(&pin.definition).map_err(|why| place.fault(&why))? != pin.digest {
        return Err(place.fault("its definition isn't what its digest says"));
    }
    Ok((place.parse(&connector)?, pin))
}

fn insert(connection: &Connection, connector: &ConnectorId, pin: &Pin, labels: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO pins (connector, tool, kind, band, digest, definition, labels, accepted_ms, accepted_by, classed_by) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    connection
        .prepare_cached(sql)?
        .execute(params![
            connector.as_str(),
            pin.tool.as_str(),
            pin.kind.as_str(),
            pin.band.as_str(),
            pin.digest.to_string(),
            pin.definition.get(),
            labels,
            column(pin.accepted_at_ms),
            pin.accepted_by,
            pin.classed_by.as_str(),
        ])
        .map(drop)
}

fn digest_of(definition: &RawValue) -> Result<Digest, String> {
    let value: Value = serde_json::from_str(definition.get()).map_err(|fault| fault.to_string())?;
    Ok(canonical::digest(&value))
}
