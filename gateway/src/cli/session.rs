//! What every command has: its places, its surroundings, its screen.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use super::{
    args::PlaceArgs,
    client::Client,
    fault::CliFault,
    places::Places,
    screen::{Screen, Table},
    surroundings::Surroundings,
};

/// What every command has.
#[derive(Debug)]
pub struct Session {
    /// Which configuration and data folder.
    pub places: Places,
    /// What it is started in.
    pub around: Surroundings,
    /// Where it writes.
    pub screen: Screen,
}

impl Session {
    /// For a command that was typed with these places.
    pub fn new(given: &PlaceArgs, around: Surroundings) -> Result<Self, CliFault> {
        Ok(Self { places: Places::settle(given, &around)?, screen: Screen::new(&around), around })
    }

    /// The running gateway.
    pub(super) async fn client(&self) -> Result<Client, CliFault> {
        Client::connect(&self.places).await
    }

    /// Shows a list: as JSON on standard output, or as a table; where there is nothing, words for a person.
    pub(super) fn list(
        &self,
        items: &impl Serialize,
        as_json: bool,
        table: impl FnOnce() -> Table,
        nothing: &str,
    ) -> Result<(), CliFault> {
        if as_json {
            return self.screen.json(&value_of(items)?);
        }
        let table = table();
        if table.is_empty() {
            self.screen.tell(nothing);
            return Ok(());
        }
        self.screen.answer(&table.to_string())
    }

    /// Shows one thing: as JSON (an array, as lists are) or as a card.
    pub(super) fn one<T: Display>(&self, item: &impl Serialize, as_json: bool, card: impl FnOnce() -> T) -> Result<(), CliFault> {
        if as_json {
            return self.screen.json(&Value::Array(vec![value_of(item)?]));
        }
        self.screen.answer(&card().to_string())
    }

    /// Asks a person; where none types, the answer is no.
    pub(super) fn asks(&self, question: &str) -> bool {
        if !self.around.types {
            return false;
        }
        self.screen.prompt(question);
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer).is_ok();
        read && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

fn value_of(item: &impl Serialize) -> Result<Value, CliFault> {
    serde_json::to_value(item).map_err(|why| CliFault::refused(&why.to_string(), None))
}
