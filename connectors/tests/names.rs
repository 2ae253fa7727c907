//! Names, and the addresses that they lead to.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bailiwick_pipeline::ports::{ConnectFailure, Later};

use crate::{
    egress::Lookup,
    kit::{Failure, Rig, grant},
    server::{Server, at, echo, modern, with_http},
};

/// Says these addresses, whatever is asked; and others from the second time on.
struct Told {
    first: Vec<IpAddr>,
    then: Vec<IpAddr>,
    asked: AtomicUsize,
}

impl Told {
    fn always(addresses: &[&str]) -> Arc<Self> {
        Self::changing(addresses, addresses)
    }

    fn changing(first: &[&str], then: &[&str]) -> Arc<Self> {
        let parsed = |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self { first: parsed(first), then: parsed(then), asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Told {
    fn addresses(&self, _: String) -> Later<'static, io::Result<Vec<IpAddr>>> {
        let addresses = if self.asked.fetch_add(1, Ordering::SeqCst) == 0 { &self.first } else { &self.then };
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// What comes of a call to a server behind a name.
async fn called(port: u16, networks: &[&str], lookup: Arc<Told>) -> Result<(), String> {
    let spec = with_http(at("x", &format!("http://tickets.example.com:{port}/mcp")), |http| {
        http.dangerous_plain_http = true;
        http.networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    });
    match Rig::resolving(vec![spec], lookup).call("x", &grant("g-1")).await {
        Ok(_) => Ok(()),
        Err(Failure::Connect(ConnectFailure::Handshake(why))) => Err(why),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_before_anything_is_sent() {
    let server = Server::new(modern(echo)).await;
    for addresses in [
        vec!["127.0.0.1"],
        vec!["::1"],
        vec!["::ffff:127.0.0.1"],
        vec!["10.0.0.5"],
        vec!["169.254.169.254"],
        vec!["93.184.216.34", "127.0.0.1"],
        vec!["64:ff9b::7f00:1"],
    ] {
        let why = called(server.port, &[], Told::always(&addresses)).await.unwrap_err();
        assert!(why.contains("`tickets.example.com` resolves to") && why.contains("`networks`"), "{addresses:?}: {why}");
    }
    let why = called(server.port, &["10.0.0.0/8"], Told::always(&["127.0.0.1"])).await.unwrap_err();
    assert!(why.contains("a loopback address"), "{why}");
    let why = called(server.port, &[], Told::always(&[])).await.unwrap_err();
    assert!(why.contains("has no address"), "{why}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_declared_network_is_reached_and_what_was_looked_at_is_what_is_connected_to() {
    let server = Server::new(modern(echo)).await;
    // A second look-up would lead elsewhere: the first is the only one that counts for its connection.
    let lookup = Told::changing(&["127.0.0.1"], &["10.0.0.5"]);
    assert_eq!(called(server.port, &["127.0.0.0/8"], Arc::clone(&lookup)).await, Ok(()));
    assert_eq!(server.seen()[0].header("host"), Some(format!("tickets.example.com:{}", server.port).as_str()));
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn localhost_in_the_url_declares_this_machine_and_no_other() {
    let server = Server::new(modern(echo)).await;
    for (address, is_reached) in [("127.0.0.1", true), ("93.184.216.34", false), ("10.0.0.5", false)] {
        let spec = at("x", &format!("http://localhost:{}/mcp", server.port));
        let answer = Rig::resolving(vec![spec], Told::always(&[address])).call("x", &grant("g-1")).await;
        assert_eq!(answer.is_ok(), is_reached, "{address}: {answer:?}");
    }
}
