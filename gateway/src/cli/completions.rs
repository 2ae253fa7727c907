//! `completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{args::Cli, fault::CliFault, screen::Screen};

/// Prints the script, and nothing else.
pub(super) fn run(shell: Shell, screen: Screen) -> Result<(), CliFault> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bailiwick", &mut script);
    screen.answer(&String::from_utf8_lossy(&script))
}
