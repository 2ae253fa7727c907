//! HTTP as no library would say it: the bytes are the test's own.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use super::Agent;

/// One TCP connection to the agents' side.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// What came back over a [`Wire`].
#[derive(Debug, Clone)]
pub struct WireReply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl WireReply {
    /// The JSON-RPC error's code, if it is one.
    pub fn error_code(&self) -> Option<i64> {
        serde_json::from_str::<Value>(&self.body).ok()?["error"]["code"].as_i64()
    }
}

impl Wire {
    /// A connection to where this agent sends.
    pub fn open(agent: &Agent) -> Self {
        let stream = TcpStream::connect(authority(agent)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Writes these bytes. A peer that has closed by now is no fault.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next response; none if the connection ends before one is complete.
    pub fn reply(&mut self) -> Option<WireReply> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let lower = head.to_ascii_lowercase();
        let length =
            lower.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok()).unwrap_or(0);
        while self.unread.len() < end + length {
            self.more()?;
        }
        let body = String::from_utf8_lossy(&self.unread[end..end + length]).into_owned();
        self.unread.drain(..end + length);
        Some(WireReply { status: head.split(' ').nth(1)?.parse().ok()?, body })
    }

    fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => {
                    self.unread.extend(&buffer[..read]);
                    return Some(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// One request and its response.
    pub fn ask(agent: &Agent, headers: &str, body: &[u8]) -> WireReply {
        let mut wire = Self::open(agent);
        wire.say(&[head(agent, &format!("{headers}content-length: {}\r\n", body.len())).as_bytes(), body].concat());
        wire.reply().unwrap_or_else(|| panic!("no answer to a request with {headers}"))
    }
}

/// A request line and the headers that a good request has, with these further ones (each ends with CR LF).
pub fn head(agent: &Agent, more: &str) -> String {
    bare_head(
        agent,
        &format!(
            "authorization: Bearer {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{more}",
            agent.token()
        ),
    )
}

/// A request line and `Host`, with these further headers (each ends with CR LF).
pub fn bare_head(agent: &Agent, more: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nhost: {}\r\n{more}\r\n", authority(agent))
}

fn authority(agent: &Agent) -> String {
    agent.url().trim_start_matches("http://").split('/').next().unwrap().to_owned()
}
