//! Ending a child together with everything it started.

use std::{collections::HashMap, time::Duration};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;

/// A process, told apart from a later one of the same id by when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Process {
    pid: i32,
    started: u64,
}

/// What the kernel says about a process.
struct Stat {
    process: Process,
    parent: i32,
    group: i32,
    session: i32,
}

/// Ends the child and its family: asked first, killed after `patience`. Returns its exit status in words.
pub(crate) async fn end_family(child: &mut Child, leader: u32, patience: Duration) -> String {
    let before = family(leader).await;
    signal(leader, &before, Signal::TERM);
    let asked = tokio::time::timeout(patience, child.wait()).await;
    let mut all = family(leader).await;
    all.extend(still_there(before).await);
    signal(leader, &all, Signal::KILL);
    let status = match asked {
        Ok(status) => status,
        Err(_) => child.wait().await,
    };
    // Once more: for what was forked between the look and the kill.
    signal(leader, &family(leader).await, Signal::KILL);
    status.map_or_else(|fault| fault.to_string(), |status| status.to_string())
}

fn signal(leader: u32, family: &[Process], signal: Signal) {
    let to = |pid: i32| Pid::from_raw(pid).filter(|pid| *pid != Pid::INIT);
    let leader = i32::try_from(leader).ok().and_then(to);
    if let Some(leader) = leader {
        // Whoever is gone needs no signal.
        let _ = kill_process_group(leader, signal);
    }
    for pid in family.iter().filter_map(|process| to(process.pid)) {
        let _ = kill_process(pid, signal);
    }
}

/// Everything of the leader's group or session, and everything that descends from it, the leader included.
async fn family(leader: u32) -> Vec<Process> {
    let Ok(leader) = i32::try_from(leader) else {
        return Vec::new();
    };
    tokio::task::spawn_blocking(move || members(leader, &all_processes())).await.unwrap_or_default()
}

async fn still_there(known: Vec<Process>) -> Vec<Process> {
    let look = move || known.into_iter().filter(|known| stat(known.pid).is_some_and(|now| now.process == *known)).collect();
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

fn members(leader: i32, all: &[Stat]) -> Vec<Process> {
    let parents: HashMap<i32, i32> = all.iter().map(|stat| (stat.process.pid, stat.parent)).collect();
    let descends = |pid: i32| {
        let mut line = std::iter::successors(Some(pid), |pid| parents.get(pid).copied().filter(|parent| *parent > 1));
        line.by_ref().take(parents.len()).any(|ancestor| ancestor == leader)
    };
    let belongs = |stat: &&Stat| stat.group == leader || stat.session == leader || descends(stat.process.pid);
    all.iter().filter(belongs).map(|stat| stat.process).collect()
}

fn all_processes() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// `/proc/PID/stat`, proc(5): the name in parentheses may contain anything, what follows it is plain.
fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    let started = fields.get(19)?.parse().ok()?;
    Some(Stat { process: Process { pid, started }, parent: number(1)?, group: number(2)?, session: number(3)? })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_family_is_group_session_and_descendants() {
        let stat = |pid, parent, group, session| Stat { process: Process { pid, started: 0 }, parent, group, session };
        let all = [
            stat(1, 0, 1, 1),
            stat(10, 1, 10, 10),
            stat(11, 10, 10, 10),
            stat(12, 11, 12, 12),
            stat(13, 1, 10, 10),
            stat(14, 1, 14, 10),
            stat(15, 1, 15, 15),
            stat(16, 12, 16, 16),
        ];
        let pids: Vec<i32> = members(10, &all).into_iter().map(|process| process.pid).collect();
        assert_eq!(pids, [10, 11, 12, 13, 14, 16]);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(stat(pid).is_some_and(|stat| stat.process.started > 0 && stat.parent > 0));
    }
}
