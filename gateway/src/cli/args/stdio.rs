//! `stdio`: what can be typed.

use std::path::PathBuf;

use clap::Args;

/// `stdio`
#[derive(Debug, Default, Args)]
#[command(after_help = "Without --agent, --grant-file and --grant-fd, the file is the one that BAILIWICK_GRANT_FILE names.")]
pub struct StdioArgs {
    /// As this agent: the gateway must know it by the user that runs this
    #[arg(long, value_name = "ID", conflicts_with_all = ["grant_file", "grant_fd"])]
    pub agent: Option<String>,
    /// By the handle or the token in this file, as `grants handle`, `grants create` or `agents token` printed it
    #[arg(long, value_name = "FILE", conflicts_with = "grant_fd")]
    pub grant_file: Option<PathBuf>,
    /// The same, from a descriptor that whoever starts this has opened for it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..))]
    pub grant_fd: Option<u32>,
    /// Act under this grant of the agent
    #[arg(long, value_name = "ID")]
    pub grant: Option<String>,
    /// The end of standard input ends the task, and so the grant whose token is used; of a handle it always does
    #[arg(long, conflicts_with = "agent")]
    pub end_at_eof: bool,
}
