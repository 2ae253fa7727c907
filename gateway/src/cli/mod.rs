//! The command line: what was typed, what it means, and what is shown.

mod agents;
mod approvals;
pub mod args;
mod audit;
mod call;
mod channels;
mod check;
mod client;
mod completions;
mod config;
mod connectors;
mod console;
mod credentials;
mod detections;
mod doctor;
mod explain;
mod fault;
mod grants;
mod habits;
mod halts;
mod init;
mod offline;
mod places;
mod policy;
mod policy_diff;
mod policy_known;
mod policy_proof;
mod policy_replay;
mod policy_schema;
mod policy_test;
mod reload;
mod requests;
mod screen;
mod session;
mod snippet;
mod stdio;
mod suggest;
mod surroundings;
mod templates;
pub mod units;

pub use args::{Cli, Command};
pub use fault::CliFault;
pub use places::Places;
pub use policy::PolicyFaults;
pub use screen::Screen;
pub use session::Session;
pub use snippet::ClientName;
pub use surroundings::Surroundings;

use args::ConfigCommand;

use crate::{
    run::{self, RunArgs},
    runtime::{StartFault, policies_of},
    world::WorldFault,
};

/// Does what was typed: the table of commands.
pub async fn run(cli: &Cli, around: Surroundings) -> Result<(), CliFault> {
    let Some(command) = &cli.command else { return serve(cli, &around).await };
    let session = |around| Session::new(&cli.places, around);
    match command {
        Command::Run => serve(cli, &around).await,
        Command::Stdio(stdio) => stdio::run(stdio, &session(around)?).await,
        Command::Init(init) => init::run(init, &cli.places, &around),
        Command::Check(form) => check::run(form.json, &session(around)?).await,
        Command::Reload(form) => reload::run(*form, &session(around)?).await,
        Command::Doctor(doctor) => doctor::run(*doctor, &session(around)?).await,
        Command::Explain(explain) => explain::run(explain, &session(around)?).await,
        Command::Call(call) => call::run(call, &session(around)?).await,
        Command::Agents(agents) => agents::run(agents, &session(around)?).await,
        Command::Connectors(connectors) => connectors::run(connectors, &session(around)?).await,
        Command::Grants(grants) => grants::run(grants, &session(around)?).await,
        Command::Credentials(command) => credentials::credentials(command, &session(around)?).await,
        Command::Channels(channels) => channels::channels(channels, &session(around)?).await,
        Command::Detections(command) => detections::detections(command, &session(around)?).await,
        Command::Freeze(freeze) => halts::freeze(freeze, &session(around)?).await,
        Command::Thaw(thaw) => halts::thaw(thaw, &session(around)?).await,
        Command::Requests(requests) => requests::run(requests, &session(around)?).await,
        Command::Approvals(approvals) => approvals::run(approvals, &session(around)?).await,
        Command::Console(console) => console::run(console, &session(around)?).await,
        Command::Policy(policy) => policy::run(policy, &session(around)?).await,
        Command::Audit(audit) => audit::run(audit, &session(around)?).await,
        Command::Config(ConfigCommand::Show(show)) => config::show(*show, &session(around)?),
        Command::Config(ConfigCommand::Schema) => Screen::new(&around).json(&bailiwick_config::schema()),
        Command::Config(ConfigCommand::PrintClient(print)) => snippet::run(print, &session(around)?).await,
        Command::Completions { shell } => completions::run(*shell, Screen::new(&around)),
        Command::DemoServer { name } => demo_server(name).await,
    }
}

async fn serve(cli: &Cli, around: &Surroundings) -> Result<(), CliFault> {
    let places = Places::settle(&cli.places, around)?;
    let config = places.load(around)?;
    let args = RunArgs {
        config: config.clone(),
        file: places.config.clone(),
        is_demo: places.config.is_none(),
        data: places.data.path().to_owned(),
        own_binary: around.own_binary.clone(),
        environment: around.environment.clone(),
    };
    run::run(args).await.map_err(|fault| match fault {
        // Shown in the text of the policies, as `policy check` does.
        StartFault::World(WorldFault::Policies(faults)) => {
            CliFault::Policies(Box::new(PolicyFaults::new(faults, &policies_of(&config).unwrap_or_default())))
        }
        fault => fault.into(),
    })
}

async fn demo_server(name: &str) -> Result<(), CliFault> {
    let fault = |fault: bailiwick_demo::DemoFault| CliFault::refused(&fault.to_string(), None);
    bailiwick_demo::serve(name.parse().map_err(fault)?).await.map_err(fault)
}
