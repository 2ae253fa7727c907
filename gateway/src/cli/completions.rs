//! `completions`

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::{args::Cli, fault::CliFault, screen::Screen};

/// Prints the script, and nothing else.
pub(super) fn run(shell: Shell, screen: Screen) -> Result<(), CliFault> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut offered(&Cli::command()), "bailiwick", &mut script);
    screen.answer(&String::from_utf8_lossy(&script))
}

/// The commands without those that help hides: what nobody is to type is not offered either.
fn offered(command: &Command) -> Command {
    let mut out = Command::new(command.get_name().to_owned());
    if let Some(about) = command.get_about() {
        out = out.about(about.clone());
    }
    if command.get_version().is_some() {
        out = out.version(env!("CARGO_PKG_VERSION"));
    }
    out = out.args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned());
    out.subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(offered))
}
