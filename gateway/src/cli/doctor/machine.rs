//! The machine: its users, its ports, its limits, and who listens for traces.

use std::{fs, io, net::SocketAddr, path::Path, time::Duration};

use rustix::process::{Resource, geteuid, getrlimit};

use super::{Findings, Places};
use crate::{
    admin::{api::Status, name_of},
    cli::{Session, client::plain},
};

/// Files that a gateway has open beside its connections: sockets, segments, the store, the pipes of children.
const OTHER_FILES: u64 = 256;

/// How long a collector may take to say anything.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn look(places: &Places<'_>, status: Option<&Status>, session: &Session, findings: &mut Findings) {
    users(places, findings);
    listeners(places, status, findings);
    limits(places, status, findings);
    collector(places, session, findings).await;
}

/// What the operating system can't keep apart.
fn users(places: &Places<'_>, findings: &mut Findings) {
    let us = geteuid().as_raw();
    let name = name_of(us);
    if us == 0 {
        let what = "this is root, and so is a gateway that is started like this: whatever gets out of it owns the machine";
        findings.warning("root", format!("user {name}"), what, "run the gateway as a user of its own");
    }
    for agent in places.config.agents.iter().filter(|agent| agent.uids.contains(&us)) {
        let id = &agent.agent.id;
        let what = format!(
            "agent `{id}` runs as the gateway's own user ({name}): nothing keeps it from the gateway's files, keys included"
        );
        findings.warning(
            "same_user",
            places.entry("agents", id.as_str()),
            what,
            "run the agent as a user of its own, and name that in `identity`",
        );
    }
    if places.config.approvals.allow_same_user {
        let what = "whoever runs an agent may approve its calls";
        let remedy = "set it to false, unless one person is trying this out alone";
        findings.warning("allow_same_user", places.key("approvals", "allow_same_user"), what, remedy);
    }
    let children = places.config.connectors.iter().filter(|connector| connector.process().is_some());
    let children: Vec<&str> = children.map(|connector| connector.id.as_str()).collect();
    if let Some(first) = children.first() {
        let at = places.entry("connectors", first);
        let all = children.join(", ");
        let what =
            format!("servers that the gateway starts run as its own user ({name}): nothing keeps them from its files ({all})");
        let remedy = "register only programs that you trust so far; put others behind a user of their own (`sudo -u`, a container) or reach them over HTTP";
        findings.warning("same_user", at.clone(), what, remedy);
        let what = "servers that the gateway starts have a limit of open files, and none of memory and processes";
        findings.note(
            "child_limits",
            at,
            what,
            "bound them together with the gateway: MemoryMax= and TasksMax= of its systemd unit",
        );
    }
}

/// Whether the listeners can be had, and what others can reach.
fn listeners(places: &Places<'_>, status: Option<&Status>, findings: &mut Findings) {
    let server = &places.config.server;
    for (key, at) in [("listen", server.listen), ("console", server.console)] {
        if !at.ip().is_loopback() {
            let what =
                format!("`{at}` can be reached from other machines, and this listener has no TLS: tokens can be read on the way");
            findings.warning("no_tls", places.key("server", key), what, "listen on 127.0.0.1 behind a proxy with TLS");
        }
        if at.port() != 0
            && let Err(why) = std::net::TcpListener::bind(at)
        {
            taken(key, at, &why, places, status, findings);
        }
    }
}

fn taken(key: &str, at: SocketAddr, why: &io::Error, places: &Places<'_>, status: Option<&Status>, findings: &mut Findings) {
    let place = places.key("server", key);
    if why.kind() != io::ErrorKind::AddrInUse {
        findings.fault("listen", place, format!("`{at}` can't be listened on: {why}"), "choose another address");
        return;
    }
    let holder = holder(at.port());
    match (holder, status) {
        (Some((pid, _)), Some(status)) if pid == status.pid => {}
        // Whose it is can't be seen without being root; that the gateway that runs here has it is likely.
        (None, Some(_)) => {}
        (Some((pid, name)), _) => {
            let what = format!("`{at}` is taken by `{name}` (pid {pid})");
            findings.fault("port", place, what, "end that, or choose another port");
        }
        (None, None) => {
            let what = format!("`{at}` is taken by another program");
            findings.fault(
                "port",
                place,
                what,
                format!("`ss -ltnp sport = :{}` (as root) shows whose it is; or choose another port", at.port()),
            );
        }
    }
}

/// The process that listens on this TCP port, as far as this user may see it.
fn holder(port: u16) -> Option<(u32, String)> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening(&fs::read_to_string(table).unwrap_or_default(), port))?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|link| link == Path::new(&wanted)))
    };
    let pid = processes.into_iter().find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().to_owned()))
}

/// The inode of the socket that listens on this port (proc(5): local address, state 0A, inode).
fn listening(table: &str, port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1).is_some_and(|local| local.ends_with(&wanted)) && fields.get(3) == Some(&"0A");
        is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
    })
}

/// The limits of the gateway that runs, else those that one would get if it were started from here.
fn limits(places: &Places<'_>, status: Option<&Status>, findings: &mut Findings) {
    let (whose, files, cores) = if let Some(status) = status {
        let text = fs::read_to_string(format!("/proc/{}/limits", status.pid)).unwrap_or_default();
        (format!("pid {}", status.pid), soft(&text, "Max open files"), soft(&text, "Max core file size"))
    } else {
        let of = |resource| Some(getrlimit(resource).current.unwrap_or(u64::MAX));
        ("a gateway started from this shell".to_owned(), of(Resource::Nofile), of(Resource::Core))
    };
    let connections = u64::from(places.config.server.max_connections);
    let wanted = connections.saturating_add(OTHER_FILES);
    if let Some(files) = files.filter(|files| *files < wanted) {
        let what = format!(
            "{files} files may be open at once, and `server.max_connections` is {connections}: further connections would fail"
        );
        let remedy =
            format!("`ulimit -n {wanted}` before the start, LimitNOFILE={wanted} in a systemd unit, or lower `max_connections`");
        findings.warning("open_files", whose.clone(), what, remedy);
    }
    if cores.is_some_and(|cores| cores > 0) {
        let what = "core dumps are on: after a crash, secrets from memory would lie on the disk";
        findings.warning("core_dumps", whose, what, "`ulimit -c 0` before the start, or LimitCORE=0 in a systemd unit");
    }
}

/// The soft limit in a line of `/proc/PID/limits`.
fn soft(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Whether anybody listens where traces are sent.
async fn collector(places: &Places<'_>, session: &Session, findings: &mut Findings) {
    let variable = |name: &'static str| session.around.variable(name).map(|value| (name.to_owned(), value.to_owned()));
    if session.around.variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return;
    }
    let configured = places.config.telemetry.endpoint.as_ref();
    let endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"))
        .or_else(|| configured.map(|url| (places.key("telemetry", "endpoint"), url.to_string())));
    let Some((place, url)) = endpoint else { return };
    let asked = match plain().timeout(PATIENCE).build() {
        Ok(http) => http.get(&url).send().await.map(drop),
        Err(why) => Err(why),
    };
    if let Err(why) = asked {
        let why = why.without_url();
        let cause = std::error::Error::source(&why).map(|cause| format!(": {cause}")).unwrap_or_default();
        let what = format!("no collector of traces answers there ({why}{cause}): calls go on, their traces are lost");
        findings.warning("collector", place, what, "start the collector, or mend the address");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_by_its_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20  0: 0100007F:22E3 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
             \x20  1: 0100007F:22E3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1\n";
        assert_eq!(listening(table, 0x22e3).as_deref(), Some("4242"));
        assert_eq!(listening(table, 0x1234), None);
    }

    #[test]
    fn whoever_listens_is_named() -> io::Result<()> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let found = holder(listener.local_addr()?.port());
        assert_eq!(found.map(|(pid, _)| pid), Some(std::process::id()));
        Ok(())
    }

    #[test]
    fn soft_limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max open files            1024                 524288               files     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n";
        assert_eq!((soft(text, "Max open files"), soft(text, "Max core file size")), (Some(1024), Some(0)));
        assert_eq!((soft(text, "Max cpu time"), soft(text, "Max nothing")), (Some(u64::MAX), None));
    }
}
