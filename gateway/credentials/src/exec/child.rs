//! One run of a program: within a size, with an empty environment, and with nothing left of it afterwards.

use std::{
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe::Receiver,
    process::Command,
};
use zeroize::Zeroizing;

use crate::{
    exec::Program,
    provider::{MintFault, MintFaultKind},
};

/// The most it may answer, bytes.
const OUTPUT: usize = 64 * 1024;

/// So much of what it says on standard error is kept, bytes.
const SAID: usize = 16 * 1024;

/// So much of that is logged, bytes.
const LOGGED: usize = 500;

/// What stands on both of its outputs and is as long as this may be of the secret, bytes.
const PIECE: usize = 8;

/// What came of it.
pub(super) struct Run {
    pub(super) output: Zeroizing<Vec<u8>>,
    pub(super) succeeded: bool,
    /// How it ended, in words.
    pub(super) ended: String,
    said: Zeroizing<Vec<u8>>,
    /// What it was started with: each of its variables and arguments may be a secret.
    given: Vec<SecretString>,
}

/// Kills the whole group when it is dropped, whatever happens, as long as its id is its own.
struct Group(Mutex<Option<Pid>>);

impl Group {
    fn kill(&self) {
        if let Some(leader) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails where none of them is left.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }

    /// Its leader is waited for: from here on the id may come to be another one's.
    fn is_over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts it, gives it this, and waits for its end. What it leaves running is killed.
pub(super) async fn run(program: &Program, request: String) -> Result<Run, MintFault> {
    let shown = program.path.display();
    let own = |why: String| MintFault::new(MintFaultKind::Own, why);
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env_clear().current_dir("/").process_group(0).kill_on_drop(true);
    command.envs(program.env.iter().map(|(name, value)| (name, value.expose_secret())));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|fault| own(format!("the plugin `{shown}` can't be started: {fault}")))?;
    let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let group = Group(Mutex::new(leader));
    let end = leader.and_then(|leader| pidfd_open(leader, PidfdFlags::NONBLOCK).ok()).and_then(ended);
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(own(format!("the plugin `{shown}` has no standard input and outputs")));
    };
    let give = async move {
        // One that does not read is judged by its answer.
        let _unread = stdin.write_all(request.as_bytes()).await;
        drop(stdin);
    };
    let wait = async {
        if let Some(end) = end {
            // pidfd_open(2): readable when the process has ended. It is a zombie then, so its id is nobody else's, and the group is its own.
            let _ended = end.readable().await;
            group.kill();
        }
        let status = child.wait().await;
        group.is_over();
        status
    };
    // What it left running is killed with its end, and so is what held the pipes open.
    let (output, said, status, ()) = tokio::join!(at_most(stdout, OUTPUT, &group), all_of(stderr), wait, give);
    let status = status.map_err(|fault| own(format!("the end of the plugin `{shown}` can't be told: {fault}")))?;
    let output = output.ok_or_else(|| {
        MintFault::new(MintFaultKind::Wrong, format!("the plugin answers with more than {OUTPUT} bytes, and was killed"))
    })?;
    let arguments = program.arguments.iter().map(|argument| SecretString::from(argument.as_str()));
    let given = program.env.values().cloned().chain(arguments).filter(|given| given.expose_secret().len() >= PIECE).collect();
    Ok(Run { output, said, succeeded: status.success(), ended: words(status), given })
}

fn ended(process: OwnedFd) -> Option<Receiver> {
    Receiver::from_owned_fd_unchecked(process).ok()
}

/// All that is said there; none where it is more than that: then everybody of the group is killed.
async fn at_most(mut from: impl AsyncRead + Unpin, most: usize, group: &Group) -> Option<Zeroizing<Vec<u8>>> {
    // In one piece of the right size: a buffer that grew would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let mut chunk = Zeroizing::new(vec![0_u8; 8192]);
    loop {
        let count = from.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            return Some(bytes);
        }
        if bytes.len() + count > most {
            group.kill();
            return None;
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

/// The beginning of what is said there; the rest is read and forgotten.
async fn all_of(mut from: impl AsyncRead + Unpin) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SAID));
    let mut chunk = Zeroizing::new(vec![0_u8; 8192]);
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return bytes,
            Ok(count) => {
                let room = SAID.saturating_sub(bytes.len()).min(count);
                bytes.extend_from_slice(chunk.get(..room).unwrap_or_default());
            }
        }
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

impl Run {
    /// Logs what it said on standard error, without these, and without whatever stands in its answer too.
    pub(super) fn log(&self, lease: &str, secrets: &[&str]) {
        let said = self.cleaned(secrets);
        if !said.is_empty() {
            tracing::warn!(lease, %said, "a plugin of credentials said something on standard error");
        }
    }

    /// The same as text: one line, short.
    pub(super) fn cleaned(&self, secrets: &[&str]) -> String {
        let said = self.said.get(..self.said.len().min(LOGGED)).unwrap_or_default();
        let mut is_shown = vec![true; said.len()];
        for (at, window) in said.windows(PIECE).enumerate() {
            let is_in = |text: &[u8]| text.windows(PIECE).any(|piece| piece == window);
            if is_in(&self.output) || secrets.iter().any(|secret| is_in(secret.as_bytes())) {
                is_shown.iter_mut().skip(at).take(PIECE).for_each(|shown| *shown = false);
            }
        }
        // What is shorter than that is looked for as it is; so is what it was started with, of which a path may be a piece.
        let short = secrets.iter().map(|secret| secret.as_bytes()).filter(|secret| !secret.is_empty() && secret.len() < PIECE);
        for secret in short.chain(self.given.iter().map(|given| given.expose_secret().as_bytes())) {
            for (at, _) in said.windows(secret.len()).enumerate().filter(|(_, window)| *window == secret) {
                is_shown.iter_mut().skip(at).take(secret.len()).for_each(|shown| *shown = false);
            }
        }
        let kept: Vec<u8> = said.iter().zip(is_shown).map(|(byte, is_shown)| if is_shown { *byte } else { b'*' }).collect();
        let text = String::from_utf8_lossy(&kept);
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        clean.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
