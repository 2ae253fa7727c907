//! Processes of this machine, as the kernel tells of them: each known by its id and its start, and watched until it ends.

use std::{fs, os::unix::fs::MetadataExt as _, time::Duration};

use bailiwick_pipeline::principal::Process;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::net::unix::pipe::Receiver;

/// How often a process is looked at that the kernel does not tell the end of.
const LOOK: Duration = Duration::from_secs(1);

/// The process of this id, if it runs as this user. To be asked while it is sure to be the one that is meant, such as right after it
/// connected.
pub(crate) fn running(pid: i32, uid: u32) -> Option<Process> {
    // Read at once: what it says is of one process.
    let started = started(pid)?;
    let is_its = fs::metadata(format!("/proc/{pid}")).is_ok_and(|found| found.uid() == uid);
    is_its.then_some(Process { uid, pid, started })
}

/// When the process of this id started, in ticks since the machine did; none where there is none, or it has ended.
fn started(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5). The name, in parentheses, may hold anything, such as further parentheses.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let is_over = matches!(fields.next()?, "Z" | "X");
    // The 22nd field; the third one is taken.
    let started = fields.nth(18)?.parse().ok()?;
    (!is_over).then_some(started)
}

/// What tells the end of a process.
enum Watch {
    /// The kernel. It is waited for as a pipe is that has something to read; nothing is read from it.
    Kernel(Receiver),
    /// Nobody: it is looked for.
    Looks,
    /// It has ended.
    Over,
}

impl Watch {
    fn of(process: Process) -> Self {
        let Some(pid) = Pid::from_raw(process.pid) else { return Self::Over };
        let opened = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(opened) => opened,
            Err(Errno::SRCH) => return Self::Over,
            Err(_) => return Self::Looks,
        };
        // Now it is known whose end will be told: another one's, if the id had come again before.
        if started(process.pid) != Some(process.started) {
            return Self::Over;
        }
        Receiver::from_owned_fd_unchecked(opened).map_or(Self::Looks, Self::Kernel)
    }
}

/// Returns once this process has ended.
pub(crate) async fn ended(process: Process) {
    match Watch::of(process) {
        Watch::Over => {}
        // pidfd_open(2): readable when the process has ended.
        Watch::Kernel(descriptor) if descriptor.readable().await.is_ok() => {}
        Watch::Kernel(_) | Watch::Looks => {
            while started(process.pid) == Some(process.started) {
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::process::{Child, Command, Stdio};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn sleeper() -> (Child, Process) {
        let child = Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let process = running(child.id().try_into().unwrap(), rustix::process::geteuid().as_raw()).unwrap();
        (child, process)
    }

    #[test]
    fn a_process_is_known_by_its_start_and_its_user() {
        let (mut child, process) = sleeper();
        assert_eq!(running(process.pid, process.uid), Some(process));
        assert_eq!(running(process.pid, process.uid + 1), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(running(process.pid, process.uid), None);
        for nobody in [0, -1] {
            assert_eq!(running(nobody, process.uid), None);
        }
    }

    #[tokio::test]
    async fn its_end_is_told() {
        let (mut child, process) = sleeper();
        let watching = tokio::spawn(ended(process));
        let stays = tokio::time::timeout(Duration::from_millis(50), ended(process)).await;
        assert!(stays.is_err(), "it runs still");
        child.kill().unwrap();
        // Nobody has waited for it: it is a zombie, and over.
        tokio::time::timeout(LONG, watching).await.unwrap().unwrap();
        tokio::time::timeout(LONG, ended(process)).await.unwrap();
        child.wait().unwrap();
        tokio::time::timeout(LONG, ended(process)).await.unwrap();
    }

    #[tokio::test]
    async fn another_one_of_the_same_id_is_not_it() {
        let (mut child, process) = sleeper();
        let before = Process { started: process.started - 1, ..process };
        tokio::time::timeout(LONG, ended(before)).await.unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
