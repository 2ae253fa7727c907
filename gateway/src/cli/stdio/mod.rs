//! `stdio`: what an agent's client starts. A bridge that carries messages between its standard input and output and the
//! gateway's agent socket. It decides nothing and writes no message to any log.

mod credential;
mod events;
mod lines;
mod link;
mod message;

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncWriteExt as _, BufReader, stdin, stdout},
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

use super::{
    Session,
    args::StdioArgs,
    client::{listens, not_running, segment},
    fault::CliFault,
};
use credential::Identity;
use lines::{Lines, Read};
use link::{Link, SHORT};
use message::Message;

/// Requests under way at once.
const MOST: usize = 64;

/// Lines that wait to be written.
const WAITING: usize = 64;

/// How long the session's own end may take before that of the task.
const SOON: Duration = Duration::from_secs(1);

/// Does it, until standard input ends. Where that is the end of the task, nothing goes on after it.
pub(super) async fn run(stdio: &StdioArgs, session: &Session) -> Result<(), CliFault> {
    let identity = Identity::of(stdio, session)?;
    let socket = session.places.data.agent_socket();
    if !listens(&socket).await? {
        return Err(not_running(&session.places));
    }
    let grant = stdio.grant.as_deref().map(segment).transpose()?;
    let link = Arc::new(Link::new(&socket, identity, grant, session.places.start.clone())?);
    link.take_up().await?;
    let (out, waiting) = mpsc::channel(WAITING);
    let writer = tokio::spawn(write(waiting));
    let places = Arc::new(Semaphore::new(MOST));
    let mut bridge = Bridge {
        link: Arc::clone(&link),
        out,
        under_way: JoinSet::new(),
        requests: HashMap::new(),
        listening: Vec::new(),
        places,
    };
    let hearing = tokio::spawn({
        let (link, out) = (Arc::clone(&link), bridge.out.clone());
        async move { link.hear(&out).await }
    });
    let carried = bridge.carry().await;
    // What nobody asks for any more, and what stays open until it is called off, is over with the input.
    hearing.abort();
    bridge.listening.iter().for_each(AbortHandle::abort);
    let is_cut = link.is_task() || !matches!(carried, Ok(false));
    if is_cut {
        bridge.under_way.abort_all();
    }
    // The client may still read the answers to what it asked before it closed its end.
    while bridge.under_way.join_next().await.is_some() {}
    drop(bridge);
    // First what needs the grant still.
    if link.is_task() {
        link.close(SOON).await;
    }
    let ended = link.end_task().await;
    // Whoever does not read what was asked for must not keep us when we are told to stop.
    let patience = if is_cut { Duration::from_secs(2) } else { Duration::MAX };
    let _written = tokio::time::timeout(patience, writer).await;
    if !link.is_task() {
        link.close(SHORT).await;
    }
    carried?;
    ended
}

/// Everything between the two ends.
struct Bridge {
    link: Arc<Link>,
    out: mpsc::Sender<String>,
    under_way: JoinSet<()>,
    /// The requests under way, by id: closing its connection cancels one.
    requests: HashMap<String, AbortHandle>,
    /// Those of them that stay open until they are called off.
    listening: Vec<AbortHandle>,
    places: Arc<Semaphore>,
}

impl Bridge {
    /// Carries messages until the input ends, or nobody reads the output. Says whether it was told to stop.
    async fn carry(&mut self) -> Result<bool, CliFault> {
        let listening = |why| CliFault::System { what: "signals can't be heard".to_owned(), why };
        let mut interrupt = signal(SignalKind::interrupt()).map_err(listening)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(listening)?;
        let mut input = Lines::new(BufReader::new(stdin()));
        loop {
            let read = tokio::select! {
                read = input.next() => read,
                _ = interrupt.recv() => return Ok(true),
                _ = terminate.recv() => return Ok(true),
                () = self.out.closed() => return Ok(true),
            };
            match read.map_err(|why: io::Error| CliFault::System { what: "standard input".to_owned(), why })? {
                Read::End => return Ok(false),
                Read::TooLong => self.answer(message::too_long(lines::LONGEST)).await,
                Read::NotText => self.answer(message::not_text()).await,
                Read::Line(text) => self.take(text).await,
            }
            while self.under_way.try_join_next().is_some() {}
            self.requests.retain(|_, request| !request.is_finished());
            self.listening.retain(|request| !request.is_finished());
        }
    }

    async fn take(&mut self, text: String) {
        let message = Message::read(text);
        // Whoever cancels may be faster than what it cancels: closing the connection is heard in any case.
        if let Some(request) = message.cancels().and_then(|id| self.requests.remove(id)) {
            request.abort();
            if !self.link.is_open() {
                return;
            }
        }
        // What opens a session is waited for: what follows needs it. So is what wants no answer: it stays in order.
        if message.opens() || !message.wants_answer() {
            if let Some(answer) = self.link.send(&message, &self.out).await {
                self.answer(answer).await;
            }
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.answer(message.error(message::BUSY, &format!("{MOST} requests are under way: wait for one to end"))).await;
            return;
        };
        let (gateway, out) = (Arc::clone(&self.link), self.out.clone());
        let (id, listens) = (message.id().map(str::to_owned), message.listens());
        let request = self.under_way.spawn(async move {
            let _place = place;
            if let Some(answer) = gateway.send(&message, &out).await {
                // Nobody reads any more: then nobody waits for it.
                let _unread = out.send(answer).await;
            }
        });
        self.listening.extend(listens.then(|| request.clone()));
        self.requests.extend(id.map(|id| (id, request)));
    }

    async fn answer(&self, answer: String) {
        let _unread = self.out.send(answer).await;
    }
}

/// Writes whole lines, one after the other.
async fn write(mut waiting: mpsc::Receiver<String>) {
    let mut out = stdout();
    while let Some(mut line) = waiting.recv().await {
        line.push('\n');
        if out.write_all(line.as_bytes()).await.is_err() || out.flush().await.is_err() {
            return;
        }
    }
}
