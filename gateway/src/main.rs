//! The program: what was typed, as a table of modes.

use std::{process::ExitCode, time::Duration};

use bailiwick::cli::{self, Cli, CliFault, Command, Surroundings};
use clap::Parser as _;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing_subscriber::{EnvFilter, fmt};
use zeroizing_alloc::ZeroAlloc;

/// Memory is taken on one thread and given back on another with every call, which the C library's allocator does slowly. Without huge
/// pages (`no_thp`): of those an idle gateway held 15 MiB more than it used, and a call costs the same CPU. What is given back is wiped:
/// secrets go through buffers of libraries that do not wipe them, such as the environment of a child.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<mimalloc::MiMalloc> = ZeroAlloc(mimalloc::MiMalloc);

/// What a shell says of a command that could not be run.
const NOT_RUN: u8 = 127;

fn main() -> ExitCode {
    let around = Surroundings::of_process();
    if let Some(command) = around.exec_child() {
        // Before any thread starts: this process becomes the command.
        let Err(fault) = bailiwick_connectors::exec_child(command);
        eprintln!("bailiwick exec-child: {fault}");
        return ExitCode::from(NOT_RUN);
    }
    if let Err(why) = no_dumps() {
        eprintln!("bailiwick: what this process holds could end up on the disk: {why}");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    let serves = matches!(cli.command, None | Some(Command::Run));
    log(&around, serves);
    let mut runtime =
        if serves { tokio::runtime::Builder::new_multi_thread() } else { tokio::runtime::Builder::new_current_thread() };
    let done = match runtime.enable_all().build() {
        Ok(runtime) => {
            let done = runtime.block_on(cli::run(&cli, around.clone()));
            // A read of standard input that nobody waits for any more must not keep the process.
            runtime.shutdown_timeout(Duration::from_millis(200));
            done
        }
        Err(why) => Err(CliFault::System { what: "no runtime could be started".to_owned(), why }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let code = fault.exit_code();
            fault.say(&around);
            ExitCode::from(code)
        }
    }
}

/// Nothing of its memory is written to a disk when it crashes, and no other process of the same user looks into it or traces it: it has
/// secrets in it.
fn no_dumps() -> rustix::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Logs go to standard error: what happens when it serves, and otherwise only what goes wrong. `RUST_LOG` says otherwise.
fn log(around: &Surroundings, serves: bool) {
    let usual = if serves { "warn,bailiwick=info" } else { "error" };
    let filter =
        around.variable("RUST_LOG").and_then(|filter| EnvFilter::try_new(filter).ok()).unwrap_or_else(|| EnvFilter::new(usual));
    fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(around.err_is_terminal).with_target(false).init();
}
