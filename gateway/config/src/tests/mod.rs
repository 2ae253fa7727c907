//! What a user notices: that a good configuration is read, and that a bad one is explained.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod accepted;
mod cases;
mod codes;
mod example;
mod layers;
mod lent_cases;
mod origin;
mod places;
mod presence;
mod start;

use std::path::Path;

use crate::{Config, ConfigFaults, load};

/// A file that has nothing but what is given.
fn read(text: &str) -> Result<Config, ConfigFaults> {
    load(Path::new("/etc/bailiwick/config.toml"), text.to_owned(), [])
}

fn config(text: &str) -> Config {
    read(text).unwrap_or_else(|faults| panic!("{}", rendered(&faults)))
}

/// The faults as a person sees them, without colours.
fn rendered(faults: &ConfigFaults) -> String {
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor()).with_width(140);
    let mut text = String::new();
    handler.render_report(&mut text, faults).unwrap();
    text
}

/// One agent, one connector and one grant, which a test adds to.
const BASE: &str = r#"
[[agents]]
id = "bot"
owner = "ops@example.com"
[[connectors]]
id = "tickets"
command = ["/bin/tickets"]
"#;
