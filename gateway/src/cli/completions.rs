//! `completions`

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::Shell;

use super::{args::Cli, fault::CliFault, screen::Screen};

/// Prints the script, and nothing else.
pub(super) fn run(shell: Shell, screen: Screen) -> Result<(), CliFault> {
    let mut script = Vec::new();
    let mut command = offered(&Cli::command());
    clap_complete::generate(shell, &mut command, "bailiwick", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Fish {
        script.push_str(&words_for_fish(&command));
    }
    screen.answer(&script)
}

/// What the script for fish has not by itself: the words that an argument may be, where it is known by its place.
fn words_for_fish(command: &Command) -> String {
    let mut lines = String::new();
    let mut offer = |command: &Command, within: &str| {
        let values = command.get_positionals().flat_map(Arg::get_possible_values);
        let words: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        if !words.is_empty() {
            lines.extend(["complete -c bailiwick -n \"", within, "\" -f -a \"", &words.join(" "), "\"\n"]);
        }
    };
    for outer in command.get_subcommands().filter(|outer| outer.get_name() != "help") {
        let within = format!("__fish_bailiwick_using_subcommand {}", outer.get_name());
        offer(outer, &within);
        for inner in outer.get_subcommands().filter(|inner| inner.get_name() != "help") {
            offer(inner, &format!("{within}; and __fish_seen_subcommand_from {}", inner.get_name()));
        }
    }
    lines
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
