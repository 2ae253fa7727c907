//! One demo connector as a process of its own: `cargo run -p bailiwick-demo --example serve -- files`

use std::process::ExitCode;

use bailiwick_demo::{Demo, DemoFault, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), DemoFault> {
    let which: Demo = std::env::args().nth(1).unwrap_or_default().parse()?;
    serve(which).await
}
