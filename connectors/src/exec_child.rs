//! The small step between the gateway and a child: limits, a session of its own, death with the gateway; then the command.
//!
//! `forbid(unsafe_code)` rules out work between fork and exec, so our own binary does it after its exec, and execs again.

use std::{
    convert::Infallible,
    os::{
        fd::IntoRawFd,
        unix::{ffi::OsStringExt, process::CommandExt},
    },
    process::Command,
};

use rustix::{
    fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create},
    process::{
        Pid, Resource, Rlimit, Signal, getpid, getppid, getrlimit, set_child_subreaper, set_parent_process_death_signal,
        setrlimit, setsid,
    },
    thread::disable_transparent_huge_pages,
};

use zeroize::Zeroizing;

use crate::spec::ProcessSpec;

/// Why the command did not come to run.
#[derive(Debug, thiserror::Error)]
pub enum ExecFault {
    /// Called by hand, and not as the gateway does.
    #[error("`{0}` was not expected: `exec-child` is for the gateway's own use")]
    Usage(String),
    /// The gateway died while its child started.
    #[error("the gateway has ended")]
    Orphan,
    /// A limit could not be set.
    #[error("{what} can't be set: {fault}")]
    Limit {
        /// Which.
        what: &'static str,
        /// Why.
        fault: rustix::io::Errno,
    },
    /// The command could not be run.
    #[error("`{command}` can't be run: {fault}")]
    Exec {
        /// Which command.
        command: String,
        /// Why.
        fault: std::io::Error,
    },
}

/// What the gateway's binary does for its hidden subcommand `exec-child`: becomes the command, confined. `args` are those after
/// the subcommand. Call it before threads or a runtime start; it returns only when it failed, and then exit with 127.
pub fn exec_child(args: impl IntoIterator<Item = String>) -> Result<Infallible, ExecFault> {
    let mut args = args.into_iter();
    let limit = |what| move |fault| ExecFault::Limit { what, fault };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(limit("death with the gateway"))?;
    // Fails only where we lead a group already; then we have one of our own.
    let _ = setsid();
    // What forks twice and leaves its session stays a descendant, to be found and ended with the others.
    set_child_subreaper(Some(getpid())).map_err(limit("being the parent of its orphans"))?;
    // Our allocator has switched huge pages off for this process; what a child does is the child's. Where it can't be, nothing is lost.
    let _ = disable_transparent_huge_pages(false);
    set(Resource::Core, 0).map_err(limit("no core dumps"))?;
    let mut in_memory = Vec::new();
    loop {
        let option = args.next().ok_or_else(|| ExecFault::Usage("end of arguments".to_owned()))?;
        if option == "--" {
            break;
        }
        let value = args.next().ok_or_else(|| ExecFault::Usage(option.clone()))?;
        if option == "--in-memory" {
            in_memory.push(value);
            continue;
        }
        let value = value.parse::<u64>().map_err(|_| ExecFault::Usage(option.clone()))?;
        match option.as_str() {
            // Asked after the death signal is set: a parent that died before is not missed.
            "--parent"
                if getppid().map(Pid::as_raw_nonzero).is_none_or(|parent| u64::from(parent.get().unsigned_abs()) != value) =>
            {
                return Err(ExecFault::Orphan);
            }
            "--parent" => {}
            "--files" => set(Resource::Nofile, value).map_err(limit("the limit of open files"))?,
            "--memory" => set(Resource::As, value).map_err(limit("the limit of memory"))?,
            "--processes" => {
                set(Resource::Nproc, value).map_err(limit("the limit of processes"))?;
            }
            _ => return Err(ExecFault::Usage(option)),
        }
    }
    let command = args.next().ok_or_else(|| ExecFault::Usage("end of arguments".to_owned()))?;
    let mut next = Command::new(&command);
    for variable in in_memory {
        let path = into_memory(&variable)?;
        next.env(variable, path);
    }
    let fault = next.args(args).exec();
    Err(ExecFault::Exec { command, fault })
}

/// Sets soft and hard limit, to no more than the hard limit there is: it is not ours to raise.
fn set(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// Puts what a variable of our environment holds into a file in memory, and returns the path by which the command can read it: as often
/// as it likes, and nobody can change it (`memfd_create(2)`, file sealing).
fn into_memory(variable: &str) -> Result<String, ExecFault> {
    let fault = |fault| ExecFault::Limit { what: "a file in memory for its credential", fault };
    // Not closed on exec, and named for nothing.
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
    let made =
        memfd_create(c"credential", flags).or_else(|_| memfd_create(c"credential", MemfdFlags::ALLOW_SEALING)).map_err(fault)?;
    // Clients of databases and of SSH use no file with a secret that others could read, too (libpq, `PGPASSFILE`).
    fchmod(&made, Mode::RUSR).map_err(fault)?;
    let held = std::env::var_os(variable).ok_or_else(|| ExecFault::Usage(format!("--in-memory {variable}")))?;
    let held = Zeroizing::new(held.into_vec());
    let mut rest = held.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&made, rest).map_err(fault)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    fcntl_add_seals(&made, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL).map_err(fault)?;
    // It lives as long as the command does.
    Ok(format!("/proc/self/fd/{}", made.into_raw_fd()))
}

/// The whole command line for a child: the launcher with its options, and the command. What the variables `in_memory` hold is put into
/// files in memory.
pub(crate) fn command_line<'v>(spec: &ProcessSpec, in_memory: impl Iterator<Item = &'v str>) -> Vec<String> {
    let mut line = spec.launcher.clone();
    // The options come first, and the mark between them and the command is ours to write.
    if line.last().is_some_and(|last| last == "--") {
        line.pop();
    }
    if !line.is_empty() {
        let mut option = |name: &str, value: Option<u64>| {
            if let Some(value) = value {
                line.extend([name.to_owned(), value.to_string()]);
            }
        };
        option("--parent", Some(u64::from(std::process::id())));
        option("--files", spec.max_files);
        option("--memory", spec.max_memory);
        option("--processes", spec.max_processes);
        in_memory.for_each(|variable| line.extend(["--in-memory".to_owned(), variable.to_owned()]));
        line.push("--".to_owned());
    }
    line.extend(spec.command.iter().cloned());
    line
}
