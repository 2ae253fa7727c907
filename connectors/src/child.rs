//! One child process, from its start to the end of everything it started.

use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use bailiwick_pipeline::{ids::GrantId, ports::Lease};
use futures_util::future::select_all;
use secrecy::ExposeSecret;
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::OwnedSemaphorePermit,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    exec_child::command_line,
    link::{End, Link},
    pipe::Pipe,
    pool::{LinkRecord, Opened, Pool, TAKEN_BACK},
    processes::end_family,
    spec::ProcessSpec,
    status::ConnectorEvent,
    stderr::{Redactor, Tail, drain},
};

/// How long what a dead child has written may still be on its way.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// For whom a child is started.
#[derive(Clone)]
pub(crate) struct Purpose {
    /// The grant; none where the connector is shared.
    pub(crate) grant: Option<GrantId>,
    /// Each ends the child: the grant's end, and that of each ancestor.
    pub(crate) ends: Vec<CancellationToken>,
    /// What is lent to it.
    pub(crate) lease: Option<Arc<Lease>>,
    /// What it may ask, as its session declares it.
    pub(crate) asks: Option<String>,
}

impl Purpose {
    /// Cancelled when what is lent to it is taken back.
    pub(crate) fn taken_back(&self) -> CancellationToken {
        self.lease.as_ref().map(|lease| lease.taken_back().clone()).unwrap_or_default()
    }
}

/// Starts a child. It lives until its pipe has ended, its grant has, or the gateway does.
pub(crate) async fn start(
    pool: &Arc<Pool>,
    process: &ProcessSpec,
    purpose: &Purpose,
    permit: OwnedSemaphorePermit,
) -> Result<Opened, String> {
    let spec = &pool.spec;
    process.look_at_program(&spec.id)?;
    let mut child = pool.context.spawner.spawn(command(process, purpose.lease.as_deref())?).await.map_err(|fault| {
        let program = process.launcher.first().or(process.command.first()).map(String::as_str).unwrap_or_default();
        format!("`{program}` can't be run: {fault}")
    })?;
    let pid = child.id().ok_or("it ended at once")?;
    let (stdin, stdout, stderr) = take_pipes(&mut child).ok_or("its pipes are missing")?;
    let redactor = Redactor::new(purpose.lease.as_ref());
    let tail = Arc::new(Tail::default());
    let tracker = &pool.context.tracker;
    tracker.spawn(until(pool.context.dead.clone(), drain(stderr, Arc::clone(&tail), redactor.clone())));
    let (most, counters) = (Arc::clone(&pool.max_message), Arc::clone(&pool.counters));
    let (pipe, notes) = Pipe::new(stdin, most, counters, redactor, Arc::clone(&tail), pool.spec.shared);
    tracker.spawn(notes);
    let reader = tracker.spawn(Arc::clone(&pipe).listen(stdout));
    let link: Arc<dyn Link> = Arc::<Pipe>::clone(&pipe);
    let opened = pool.add(LinkRecord::new(purpose.grant.clone(), &link).of_child(pid, tail));
    pool.context.tell(ConnectorEvent::Started { connector: spec.id.clone(), pid: Some(pid), grant: purpose.grant.clone() });
    let (pool, purpose, started) = (Arc::clone(pool), purpose.clone(), Instant::now());
    let life = Life { pool: Arc::clone(&pool), pipe, pid, serial: opened.serial, purpose, started };
    pool.context.tracker.spawn(life.supervise(child, reader, permit));
    Ok(opened)
}

async fn until(dead: CancellationToken, work: impl Future<Output = ()>) {
    dead.run_until_cancelled(work).await;
}

fn command(spec: &ProcessSpec, lease: Option<&Lease>) -> Result<Command, String> {
    let files = lease.and_then(Lease::files).unwrap_or_default();
    if !files.is_empty() && spec.launcher.is_empty() {
        return Err("its credential is to go into a file in memory, and it is started without the step that makes one".to_owned());
    }
    let line = command_line(spec, files.iter().map(|(name, _)| name.as_str()));
    let mut command = Command::new(line.first().map(String::as_str).unwrap_or_default());
    command.args(line.iter().skip(1)).env_clear().envs(&spec.env);
    if let Some(lease) = lease {
        let Some(variables) = lease.variables() else {
            return Err(
                "its credential is to go into a header, and a child process has none: use `inject = { env = … }`".to_owned()
            );
        };
        // The step before the command takes what goes into a file out of the environment again.
        for (name, text) in variables.iter().chain(files) {
            command.env(name, text.expose_secret());
        }
    }
    command.current_dir(spec.cwd.as_deref().unwrap_or("/".as_ref()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if spec.launcher.is_empty() {
        // The launcher makes a session, which a group's leader could not.
        command.process_group(0);
    }
    Ok(command)
}

fn take_pipes(child: &mut Child) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
    Some((child.stdin.take()?, child.stdout.take()?, child.stderr.take()?))
}

/// What is needed to see a child to its end.
struct Life {
    pool: Arc<Pool>,
    pipe: Arc<Pipe>,
    pid: u32,
    serial: u64,
    purpose: Purpose,
    started: Instant,
}

impl Life {
    async fn supervise(self, mut child: Child, mut reader: JoinHandle<Option<End>>, permit: OwnedSemaphorePermit) {
        let taken_back = self.purpose.taken_back();
        let end = tokio::select! {
            biased;
            () = self.pool.context.root.cancelled() => End::wanted("the gateway ends"),
            () = any(&self.purpose.ends) => End::wanted("its grant has ended"),
            () = taken_back.cancelled() => End::wanted(TAKEN_BACK),
            () = self.pipe.ending().cancelled() => End::failure("it has ended"),
            status = child.wait() => {
                // What it wrote last may answer a call.
                let _ = tokio::time::timeout(LAST_WORDS, &mut reader).await;
                End::failure(self.last_words(&status.map_or_else(|fault| fault.to_string(), |status| status.to_string())).await)
            }
            end = &mut reader => match end {
                Ok(Some(end)) => end,
                Ok(None) | Err(_) => match tokio::time::timeout(LAST_WORDS, child.wait()).await {
                    Ok(Ok(status)) => End::failure(self.last_words(&status.to_string()).await),
                    Ok(Err(_)) | Err(_) => End::failure("it closed its standard output"),
                },
            },
        };
        // Only the first reason counts: if the pipe has ended already, this changes nothing.
        self.pipe.end(end);
        let end = self.pipe.ended().unwrap_or_else(|| End::failure("it has ended"));
        // Whoever asks it which protocol it speaks judges for himself what its end means.
        if !end.wanted && !end.when_asked {
            self.pool.failed(&end.why);
        }
        let status = end_family(&mut child, self.pid, self.pool.spec.kill_after).await;
        self.pool.remove(self.serial, self.pipe.tail().lines());
        self.pipe.let_go();
        drop(permit);
        let (connector, grant) = (self.pool.spec.id.clone(), self.purpose.grant);
        self.pool.context.tell(ConnectorEvent::Ended {
            connector,
            pid: Some(self.pid),
            grant,
            why: end.why,
            wanted: end.wanted,
            status,
        });
    }

    /// How it ended, and the last thing it wrote to standard error.
    async fn last_words(&self, status: &str) -> String {
        // Standard error is read by another task: it may be a moment behind.
        for _ in 0..5 {
            if self.pipe.tail().last().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let lived = self.started.elapsed().as_millis();
        match self.pipe.tail().last() {
            Some(last) => format!("it ended after {lived} ms with {status}; its last line on standard error: {last}"),
            None => format!("it ended after {lived} ms with {status}"),
        }
    }
}

/// Returns once one of them is cancelled; never if there is none.
pub(crate) async fn any(tokens: &[CancellationToken]) {
    if tokens.is_empty() {
        return std::future::pending().await;
    }
    select_all(tokens.iter().map(|token| Box::pin(token.cancelled()))).await;
}
