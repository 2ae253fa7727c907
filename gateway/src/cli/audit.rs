//! `audit`: reads the trail itself, so that it works whether the gateway runs or not.

use std::time::Duration;

use bailiwick_trail::{Liveness, Reader, Record, Records, Report, Start, Stream, verify};
use serde_json::{Map, Value, json};

use super::{
    Session,
    args::{AuditCommand, One, StreamName, TailArgs},
    client::{listens, segment},
    fault::CliFault,
    screen::{Page, laid_out, shown, visible_json},
};
use crate::admin::api::{CallBodies, Why};

/// How often `--follow` looks.
const LOOK: Duration = Duration::from_millis(250);

/// Does it.
pub(super) async fn run(command: &AuditCommand, session: &Session) -> Result<(), CliFault> {
    match command {
        AuditCommand::Tail(tail) => follow(tail, session).await,
        AuditCommand::Show(wanted) if wanted.bodies => open(&wanted.one, session).await,
        AuditCommand::Show(wanted) => show(&wanted.one, session),
        AuditCommand::Verify(form) => check(form.json, session).await,
    }
}

/// The reader of the trail, where there is one.
pub(super) fn reader(session: &Session) -> Result<Reader, CliFault> {
    let folder = session.places.data.trail();
    if !folder.is_dir() {
        let what = format!("there is no trail at `{}`", folder.display());
        return Err(CliFault::refused(&what, Some(&format!("the first start makes one: {}", session.places.start))));
    }
    Ok(Reader::open(&folder)?)
}

async fn follow(tail: &TailArgs, session: &Session) -> Result<(), CliFault> {
    let reader = reader(session)?;
    let streams: Vec<Stream> = tail.stream.map_or_else(|| Stream::ALL.to_vec(), |name| vec![stream(name)]);
    let mut sources: Vec<Records> =
        streams.iter().map(|stream| reader.records(*stream, Start::Last(tail.count))).collect::<Result<_, _>>()?;
    let mut found = drain(&mut sources)?;
    let surplus = found.len().saturating_sub(usize::try_from(tail.count).unwrap_or(usize::MAX));
    found.drain(..surplus);
    if tail.form.json && !tail.follow {
        return session.screen.json(&found.iter().map(as_json).collect());
    }
    if found.is_empty() && !tail.follow {
        session.screen.tell("nothing is on record yet");
    }
    loop {
        for record in &found {
            if tail.form.json { session.screen.json_line(&as_json(record))? } else { session.screen.answer(&line(record))? }
        }
        if !tail.follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
        found = drain(&mut sources)?;
    }
}

/// Everything that is there now, in the order of time.
fn drain(sources: &mut [Records]) -> Result<Vec<Record>, CliFault> {
    let mut found = Vec::new();
    for source in sources {
        for record in source.by_ref() {
            found.push(record?);
        }
    }
    in_order(&mut found);
    Ok(found)
}

/// By time; within a millisecond as it came to be: a call is decided before it is begun.
fn in_order(records: &mut [Record]) {
    let rank = |stream| match stream {
        Stream::Admin => 0,
        Stream::Detections => 1,
        Stream::Decisions => 2,
        Stream::Secrets => 3,
        Stream::Calls => 4,
    };
    records.sort_by_key(|record| (record.unix_ms, rank(record.stream)));
}

/// What is kept of a call.
async fn open(one: &One, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    let opened: CallBodies = client.post(&format!("calls/{}/bodies", segment(&one.id)?), &Why::default()).await?;
    if one.form.json {
        return session.screen.json(&json!(opened));
    }
    let mut text = Page::of(String::new());
    for (part, body) in [("arguments", &opened.arguments), ("result", &opened.result)] {
        let Some(body) = body else {
            text.add(format_args!("{part} are not kept\n"));
            continue;
        };
        text.add(format_args!("{part} ({} bytes)\n", body.len()));
        for line in visible_json(&laid_out(body)).lines() {
            text.add(format_args!("  {line}\n"));
        }
    }
    session.screen.answer(&text.into_text())
}

fn show(one: &One, session: &Session) -> Result<(), CliFault> {
    let reader = reader(session)?;
    let mut found = Vec::new();
    for stream in Stream::ALL {
        for record in reader.records(stream, Start::First)? {
            let record = record?;
            let is_about =
                ["call_id", "approval", "grant", "about", "change"].iter().any(|key| record.text(key) == Some(&one.id));
            if is_about {
                found.push(record);
            }
        }
    }
    if found.is_empty() {
        return Err(CliFault::refused(
            &format!("nothing is on record about `{}`", one.id),
            Some("`bailiwick audit tail -n 50` shows the ids of calls"),
        ));
    }
    in_order(&mut found);
    if one.form.json {
        return session.screen.json(&found.iter().map(as_json).collect());
    }
    session.screen.answer(&found.iter().map(card).collect::<Vec<_>>().join("\n"))
}

/// A record for programs: what it says, with an `id` and a `state` as everything that is listed has.
fn as_json(record: &Record) -> Value {
    let id = record
        .text("call_id")
        .or(record.text("about"))
        .map_or_else(|| format!("{}-{}", record.stream, record.seq), str::to_owned);
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(id));
    object.insert("state".to_owned(), json!(state(record)));
    object.insert("stream".to_owned(), json!(record.stream.name()));
    object.insert("seq".to_owned(), json!(record.seq));
    object.insert("time".to_owned(), json!(record.time));
    for (key, value) in &record.body {
        object.entry(key.clone()).or_insert_with(|| value.clone());
    }
    object.insert("hash".to_owned(), json!(record.hash.to_string()));
    Value::Object(object)
}

fn state(record: &Record) -> &str {
    let texts = ["outcome", "effect", "result", "event"].into_iter().filter_map(|key| record.text(key));
    texts.into_iter().next().unwrap_or("recorded")
}

/// A record as one narrow line: when, what, who, with what, why.
fn line(record: &Record) -> String {
    let clock = record.time.get(11..19).unwrap_or(&record.time);
    let what = match record.stream {
        Stream::Calls => record.text("outcome").or(record.text("event")),
        Stream::Decisions => record.text("effect"),
        Stream::Secrets | Stream::Admin => record.text("event"),
        Stream::Detections => record.text("detection"),
    };
    let text = |key: &str| record.text(key).unwrap_or_default();
    let who = if record.stream == Stream::Admin { text("by") } else { text("agent") };
    let about = [text("tool"), text("connector"), text("about"), text("method")]
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default();
    let mut rest: Vec<String> =
        ["reason", "result", "why"].iter().map(|key| text(key)).filter(|text| !text.is_empty()).map(shown).collect();
    if let Some(micros) = record.body.get("duration_us").and_then(Value::as_u64) {
        rest.push(format!("{} ms", micros / 1000));
    }
    let id = text("call_id");
    let line = format!(
        "{clock}  {:<10}  {:<17}  {:<12}  {:<24}  {:<25}  {}",
        record.stream.name(),
        shown(what.unwrap_or_default()),
        shown(who),
        shown(about),
        shown(id),
        rest.join("  ")
    );
    line.trim_end().to_owned()
}

/// A record with all its fields.
fn card(record: &Record) -> String {
    let mut text = Page::of(format!("{}  {} {}\n", shown(&record.time), record.stream, record.seq));
    let width = record.body.keys().map(|key| key.chars().count()).max().unwrap_or(0).min(24);
    for (key, value) in &record.body {
        let value = value.as_str().map_or_else(
            || shown(&value.to_string()),
            |text| text.lines().map(shown).collect::<Vec<_>>().join("\n                          "),
        );
        text.add(format_args!("  {:width$}  {value}\n", shown(key)));
    }
    text.into_text()
}

async fn check(as_json: bool, session: &Session) -> Result<(), CliFault> {
    reader(session)?;
    let runs = listens(&session.places.data.admin_socket()).await?;
    let report = verify(&session.places.data.trail(), if runs { Liveness::Live } else { Liveness::AtRest })?;
    if as_json {
        session.screen.json(&report_json(&report))?;
    } else {
        session.screen.answer(&report_table(&report))?;
        let open = report.open.len();
        if open > 0 {
            let why =
                if runs { "in flight, or ended in this moment" } else { "their outcome is not known: they may have happened" };
            session.screen.tell(&format!("{open} calls have no outcome yet ({why})"));
        }
    }
    if report.is_intact() {
        return Ok(());
    }
    for finding in report.findings() {
        session.screen.tell(&format!("DAMAGED  {}", shown(&finding.to_string())));
    }
    session.screen.tell("keep the folder as evidence; a backup of it, or the heads kept elsewhere, tell what was there");
    Err(CliFault::Said)
}

fn report_table(report: &Report) -> String {
    let mut text = Page::default();
    for stream in &report.streams {
        let verdict = if stream.bad.is_none() { "chain OK" } else { "DAMAGED " };
        text.add(format_args!("{:<10}  {verdict}  {} records\n", stream.stream.name(), stream.records));
    }
    text.into_text()
}

fn report_json(report: &Report) -> Value {
    let streams = report.streams.iter().map(|stream| {
        json!({
            "id": stream.stream.name(),
            "state": if stream.bad.is_none() { "ok" } else { "damaged" },
            "records": stream.records,
            "last": stream.last.map(|hash| hash.to_string()),
            "file": stream.bad.as_ref().map(|bad| &bad.file),
            "line": stream.bad.as_ref().map(|bad| bad.line),
            "seq": stream.bad.as_ref().map(|bad| bad.seq),
            "wrong": stream.bad.as_ref().map(|bad| bad.wrong.to_string()),
        })
    });
    streams.collect()
}

fn stream(name: StreamName) -> Stream {
    match name {
        StreamName::Calls => Stream::Calls,
        StreamName::Decisions => Stream::Decisions,
        StreamName::Secrets => Stream::Secrets,
        StreamName::Admin => Stream::Admin,
        StreamName::Detections => Stream::Detections,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use bailiwick_trail::{Options, Trail};

    use super::*;

    fn recorded(stream: Stream, body: &Value) -> Record {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trail");
        let (trail, _) = Trail::open(&path, Options::default()).unwrap();
        trail.append(stream, 1_795_303_179_042, body).unwrap();
        drop(trail);
        Reader::open(&path).unwrap().record(stream, 1).unwrap().unwrap()
    }

    #[test]
    fn a_line_is_narrow_and_steers_nothing() {
        let record = recorded(
            Stream::Decisions,
            &json!({"event": "decided", "call_id": "c1", "agent": "demo", "tool": "a__b\u{1b}[2J", "effect": "deny", "reason": "unknown_tool"}),
        );
        let line = line(&record);
        assert!(line.starts_with("23:19:39  decisions   deny               demo          a__b\\u{1b}[2J"), "{line}");
        assert!(line.ends_with("c1                         unknown_tool"), "{line}");
        let json = as_json(&record);
        assert_eq!((json.get("id"), json.get("state")), (Some(&json!("c1")), Some(&json!("deny"))));
    }

    #[test]
    fn a_card_shows_every_field() {
        let record =
            recorded(Stream::Admin, &json!({"event": "grant_revoked", "by": "ada", "about": "g", "with": {"reason": "x"}}));
        assert_eq!(
            card(&record),
            "2026-11-21T23:19:39.042Z  admin 1\n  event  grant_revoked\n  by     ada\n  about  g\n  with   {\"reason\":\"x\"}\n"
        );
    }
}
