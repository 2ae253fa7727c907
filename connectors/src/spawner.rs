//! The one thread that starts children.
//!
//! A parent-death signal fires when the *thread* that started the child ends. A runtime's threads come and go; this one lives
//! as long as the connectors, and when it goes, so do all children.

use std::{io, sync::mpsc, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

/// Starts children on a thread of its own.
pub(crate) struct Spawner {
    jobs: Result<mpsc::Sender<Job>, String>,
}

struct Job {
    command: Command,
    runtime: Handle,
    started: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    pub(crate) fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let work = move || {
            for mut job in queue {
                let _runtime = job.runtime.enter();
                // If nobody waits any more, the child is dropped, and dies of that.
                let _ = job.started.send(job.command.spawn());
            }
        };
        let thread = thread::Builder::new().name("children".to_owned()).spawn(work);
        Self { jobs: thread.map(|_| jobs).map_err(|fault| fault.to_string()) }
    }

    /// Starts the command.
    pub(crate) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.kill_on_drop(true);
        let (started, child) = oneshot::channel();
        let job = Job { command, runtime: Handle::current(), started };
        let gone = || io::Error::other("the thread that starts children has ended");
        match &self.jobs {
            Ok(jobs) => jobs.send(job).map_err(|_| gone())?,
            Err(fault) => return Err(io::Error::other(fault.clone())),
        }
        child.await.map_err(|_| gone())?
    }
}
