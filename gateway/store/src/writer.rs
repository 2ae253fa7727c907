//! The one thread that writes. What is queued while it works is committed together: many changes, one sync of the disk.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};

use crate::fault::{StoreFault, WriteFault};

/// At most so many changes are committed together.
const BATCH: usize = 256;

/// A batch takes in what arrives within this time.
const GATHER: Duration = Duration::from_millis(2);

/// A change, run inside a savepoint of its own.
pub(crate) type Change = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

/// Told what became of a change, after the commit, on the writer's thread.
pub(crate) type Done = Box<dyn FnOnce(Result<(), WriteFault>) + Send>;

/// A queued change.
pub(crate) struct Job {
    pub(crate) change: Change,
    pub(crate) done: Done,
    /// What to do when this one change is refused.
    pub(crate) refused: Refused,
}

/// Whether a change may be refused while the store goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The caller is told.
    Tell,
    /// Memory is already ahead of it and nobody waits: the store is lost.
    Lose,
}

/// The way to the writer's thread.
pub(crate) struct Writer {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<OnceLock<String>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(connection: Connection, path: PathBuf) -> Result<Self, StoreFault> {
        let (queue, jobs) = channel();
        let lost = Arc::new(OnceLock::new());
        let told = Arc::clone(&lost);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&connection, &jobs, &told))
            .map_err(|fault: io::Error| StoreFault::Files { path, fault })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), lost })
    }

    /// Queues a change. `done` is dropped unused if the writer's thread has ended.
    pub(crate) fn queue(&self, job: Job) {
        if let Some(queue) = &self.queue
            && queue.send(job).is_err()
        {
            let _ = self.lost.set("its thread has ended".to_owned());
        }
    }

    /// Why nothing can be written any more.
    pub(crate) fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is known already: whoever waited for it has been told that the store is lost.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, jobs: &Receiver<Job>, lost: &OnceLock<String>) {
    while let Ok(first) = jobs.recv() {
        let told = batch(connection, jobs, first, lost);
        for (done, result) in told {
            done(result);
        }
    }
    // What is in the write-ahead log is safe; folding it in makes the next start quicker.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA optimize;");
}

/// Runs and commits one batch, and returns whom to tell what.
fn batch(
    connection: &Connection,
    jobs: &Receiver<Job>,
    first: Job,
    lost: &OnceLock<String>,
) -> Vec<(Done, Result<(), WriteFault>)> {
    let until = Instant::now() + GATHER;
    let mut told = Vec::new();
    let mut next = Some(first);
    let mut begun = Ok(());
    if lost.get().is_none() {
        begun = connection.execute_batch("BEGIN IMMEDIATE");
    }
    while let Some(job) = next {
        let result = match (&begun, lost.get()) {
            (Ok(()), None) => in_savepoint(connection, job.change),
            _ => Ok(()),
        };
        told.push((job.done, judge(result, job.refused, lost)));
        let is_full = told.len() >= BATCH || Instant::now() >= until;
        next = if is_full { None } else { jobs.try_recv().ok() };
    }
    let committed = begun.and_then(|()| if lost.get().is_none() { connection.execute_batch("COMMIT") } else { Ok(()) });
    if let Err(fault) = committed {
        let _ = lost.set(fault.to_string());
    }
    if let Some(why) = lost.get() {
        // Whether anything is open depends on what failed.
        let _ = connection.execute_batch("ROLLBACK");
        for (_, result) in &mut told {
            *result = Err(WriteFault::Lost(why.clone()));
        }
    }
    told
}

fn in_savepoint(connection: &Connection, change: Change) -> rusqlite::Result<()> {
    connection.execute_batch("SAVEPOINT change")?;
    let result = change(connection);
    let end = if result.is_ok() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" };
    connection.execute_batch(end).and(result)
}

/// A change at odds with what is stored is refused alone; any other failure is the store's.
fn judge(result: rusqlite::Result<()>, refused: Refused, lost: &OnceLock<String>) -> Result<(), WriteFault> {
    let Err(fault) = result else { return Ok(()) };
    let is_conflict = fault.sqlite_error_code() == Some(ErrorCode::ConstraintViolation);
    let is_unstorable = matches!(fault, rusqlite::Error::ToSqlConversionFailure(_) | rusqlite::Error::QueryReturnedNoRows);
    match refused {
        Refused::Tell if is_conflict => Err(WriteFault::Conflict(fault.to_string())),
        Refused::Tell if is_unstorable => Err(WriteFault::Unstorable(fault.to_string())),
        _ => {
            let why = lost.get_or_init(|| fault.to_string());
            Err(WriteFault::Lost(why.clone()))
        }
    }
}
