//! The trail, read for pages: backwards, in bounded pieces, on threads that may wait.

use std::collections::BTreeMap;

use bailiwick_console::{
    Action, Viewer,
    views::{Ahead, AuditPage, AuditQuery, AuditRow, Bar, CallView, Detection, FieldView, Picture, Run},
};
use bailiwick_pipeline::ports::Worlds as _;
use bailiwick_policy::Band;
use bailiwick_trail::{Reader, Record, Start, Stream, TrailFault};
use serde_json::Value;

use super::views::seen_by;
use crate::{
    admin::{api::DetectionView, detections::last},
    recent::Passed,
    runtime::Runtime,
};

/// So many records of each stream are read for one page of a search.
const PIECE: u64 = 2_000;

/// So many rows are on a page.
const ROWS: usize = 50;

/// So many records are read back, at most, for one call.
const FAR: u64 = 200_000;

/// So many calls of its task stand with a question.
const AHEAD: usize = 5;

/// What a record may be about.
const IDS: [&str; 7] = ["call_id", "approval", "grant", "lease", "about", "change", "trace_id"];

/// Does something that reads files, where that keeps nobody waiting.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T, TrailFault> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|fault| fault.to_string()),
        Err(_) => Err("it could not be read: the gateway's log says why".to_owned()),
    }
}

/// Where each stream ends now.
fn ends(runtime: &Runtime) -> BTreeMap<&'static str, u64> {
    let trail = runtime.recorder.trail();
    Stream::ALL.into_iter().map(|stream| (stream.name(), trail.last_seq(stream) + 1)).collect()
}

/// The records of a stream from `from` on, before `before`.
fn piece(reader: &Reader, stream: Stream, from: u64, before: u64) -> Result<Vec<Record>, TrailFault> {
    let mut found = Vec::new();
    if from >= before {
        return Ok(found);
    }
    for record in reader.records(stream, Start::Seq(from))? {
        let record = record?;
        if record.seq >= before {
            break;
        }
        found.push(record);
    }
    Ok(found)
}

/// What is on record like that, the newest first.
pub(super) async fn search(runtime: &Runtime, query: AuditQuery) -> AuditPage {
    let (folder, ends) = (runtime.data.trail(), ends(runtime));
    let found = beside(move || searched(&Reader::open(&folder)?, &query, ends)).await;
    found.unwrap_or_else(|why| AuditPage { remark: Some(why), ..AuditPage::default() })
}

fn searched(reader: &Reader, query: &AuditQuery, ends: BTreeMap<&'static str, u64>) -> Result<AuditPage, TrailFault> {
    let before = cursor(&query.before, ends);
    let (from_ms, until_ms) = (time(&query.from), time(&query.until));
    let mut read = 0;
    let mut horizon_ms = 0;
    let mut found: Vec<Record> = Vec::new();
    for stream in Stream::ALL {
        let end = before.get(stream.name()).copied().unwrap_or(1);
        let start = end.saturating_sub(PIECE).max(1);
        let records = piece(reader, stream, start, end)?;
        read += records.len();
        // What is older than the oldest that was read of a stream may be missing in between: it is for the next page.
        if start > 1 {
            horizon_ms = horizon_ms.max(records.first().map_or(0, |record| record.unix_ms));
        }
        found.extend(records);
    }
    found.sort_by_key(|record| std::cmp::Reverse((record.unix_ms, rank(record.stream), record.seq)));
    let is_meant = |record: &&Record| {
        until_ms.is_none_or(|until| record.unix_ms < until)
            && from_ms.is_none_or(|from| record.unix_ms >= from)
            && fits(record, query)
    };
    let meant: Vec<&Record> = found.iter().filter(|record| record.unix_ms >= horizon_ms).filter(is_meant).collect();
    // Whatever is of one millisecond is on one page.
    let cut_ms = meant.get(ROWS).and(meant.get(ROWS - 1)).map_or(horizon_ms, |last| last.unix_ms);
    let rows: Vec<AuditRow> = meant.iter().filter(|record| record.unix_ms >= cut_ms).map(|record| row(record)).collect();
    let mut next = before;
    for record in found.iter().filter(|record| record.unix_ms >= cut_ms) {
        let at = next.entry(record.stream.name()).or_insert(record.seq);
        *at = (*at).min(record.seq);
    }
    let is_left = next.values().any(|seq| *seq > 1) && from_ms.is_none_or(|from| cut_ms >= from);
    Ok(AuditPage { rows, older: is_left.then(|| written(&next)), read, remark: remark(query, from_ms, until_ms) })
}

fn remark(query: &AuditQuery, from_ms: Option<u64>, until_ms: Option<u64>) -> Option<String> {
    let is_unread = |text: &str, time: Option<u64>| !text.is_empty() && time.is_none();
    (is_unread(&query.from, from_ms) || is_unread(&query.until, until_ms)).then(|| {
        "A time is written as 2026-01-31 or 2026-01-31T18:00, in UTC. What was written otherwise was left out.".to_owned()
    })
}

fn rank(stream: Stream) -> u8 {
    match stream {
        Stream::Admin => 0,
        Stream::Detections => 1,
        Stream::Decisions => 2,
        Stream::Secrets => 3,
        Stream::Calls => 4,
    }
}

/// Where to go on in each stream, such as `calls.120-admin.7`.
fn written(next: &BTreeMap<&'static str, u64>) -> String {
    next.iter().map(|(stream, seq)| format!("{stream}.{seq}")).collect::<Vec<_>>().join("-")
}

fn cursor(text: &str, ends: BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    let said: BTreeMap<&str, u64> = text
        .split('-')
        .filter_map(|part| part.split_once('.'))
        .filter_map(|(stream, seq)| Some((stream, seq.parse().ok()?)))
        .collect();
    ends.into_iter().map(|(stream, end)| (stream, said.get(stream).map_or(end, |seq| end.min(*seq)))).collect()
}

fn fits(record: &Record, query: &AuditQuery) -> bool {
    let is = |key: &str, wanted: &str| wanted.is_empty() || record.text(key) == Some(wanted);
    let who = is("agent", query.agent.trim()) || is("by", query.agent.trim());
    let tool = query.tool.trim();
    let is_tool = tool.is_empty() || record.text("tool").is_some_and(|name| name.contains(tool));
    let id = query.id.trim();
    let is_about = id.is_empty() || IDS.iter().any(|key| record.text(key) == Some(id));
    who && is_tool && is_about && is("outcome", &query.outcome)
}

fn row(record: &Record) -> AuditRow {
    let text = |key: &str| record.text(key).unwrap_or_default().to_owned();
    let first = |keys: &[&str]| keys.iter().map(|key| text(key)).find(|text| !text.is_empty()).unwrap_or_default();
    let what = match record.stream {
        Stream::Calls => first(&["outcome", "event"]),
        Stream::Decisions => first(&["effect", "event"]),
        Stream::Secrets | Stream::Admin => text("event"),
        Stream::Detections => text("detection"),
    };
    let mut why = first(&["reason", "why"]);
    if record.stream == Stream::Admin && why.is_empty() {
        why = text("result");
    }
    AuditRow {
        at_ms: record.unix_ms,
        stream: record.stream.name().to_owned(),
        what,
        who: first(&["agent", "by"]),
        about: first(&["tool", "connector", "about", "method"]),
        why,
        call: record.text("call_id").map(str::to_owned),
    }
}

/// A time as it is typed: `2026-01-31`, or `2026-01-31T18:00`, UTC.
fn time(text: &str) -> Option<u64> {
    let (date, clock) = text.trim().split_once(['T', ' ']).unwrap_or((text.trim(), "00:00"));
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (hour, minute) = clock.trim_end_matches('Z').split_once(':')?;
    let (hour, minute) = (hour.parse::<i64>().ok()?, minute.get(..2)?.parse::<i64>().ok()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(0..24).contains(&hour) || !(0..60).contains(&minute) {
        return None;
    }
    // Days since 1970 by the Gregorian calendar (Howard Hinnant's `days_from_civil`).
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    u64::try_from((days * 24 * 60 + hour * 60 + minute) * 60_000).ok()
}

/// The last calls under a grant that this viewer may see, the newest first. Who only approves sees those of tools that they decide about.
pub(super) async fn last_calls(runtime: &Runtime, viewer: &Viewer, grant: String) -> Vec<Ahead> {
    let (world, viewer) = (runtime.worlds.now(), viewer.clone());
    let is_theirs = move |tool: &str| {
        let sees_all = viewer.may(Action::SeeRegistry).is_ok();
        sees_all || world.tool(tool).is_some_and(|tool| seen_by(&viewer)(&tool.connector.id, tool.band))
    };
    let (folder, end) = (runtime.data.trail(), runtime.recorder.trail().last_seq(Stream::Calls) + 1);
    let found = beside(move || {
        let records = piece(&Reader::open(&folder)?, Stream::Calls, end.saturating_sub(PIECE).max(1), end)?;
        let of_task = |record: &&Record| {
            record.text("event") == Some("outcome")
                && record.text("grant") == Some(&grant)
                && record.text("tool").is_some_and(&is_theirs)
        };
        Ok(records.iter().rev().filter(of_task).take(AHEAD).map(ahead).collect::<Vec<_>>())
    });
    found.await.unwrap_or_default()
}

fn ahead(record: &Record) -> Ahead {
    let text = |key: &str| record.text(key).unwrap_or_default().to_owned();
    Ahead { call: text("call_id"), tool: text("tool"), outcome: text("outcome"), at_ms: record.unix_ms, trace: text("trace_id") }
}

/// What the call did that went under this approval, as far as it is among the last records. Its id is for who may read them.
pub(super) async fn run_of(runtime: &Runtime, viewer: &Viewer, approval: String) -> Option<Run> {
    let reads = viewer.may(Action::SeeTrail).is_ok();
    let (folder, end) = (runtime.data.trail(), runtime.recorder.trail().last_seq(Stream::Calls) + 1);
    let found = beside(move || {
        let records = piece(&Reader::open(&folder)?, Stream::Calls, end.saturating_sub(PIECE).max(1), end)?;
        let is_run = |record: &&Record| {
            record.text("event") == Some("outcome")
                && record.text("approval") == Some(&approval)
                && record.text("outcome").is_some_and(|outcome| outcome != "approval_pending")
        };
        Ok(records.iter().rev().find(is_run).map(|record| Run {
            outcome: record.text("outcome").unwrap_or_default().to_owned(),
            why: record.text("reason").map(str::to_owned),
            call: record.text("call_id").filter(|_| reads).map(str::to_owned),
            at_ms: record.unix_ms,
        }))
    });
    found.await.ok().flatten()
}

/// What detections found lately.
pub(super) async fn stood_out(runtime: &Runtime) -> Vec<Detection> {
    let folder = runtime.data.trail();
    let found = beside(move || last(&folder)).await.unwrap_or_default();
    found.into_iter().map(found_in_task).collect()
}

fn found_in_task(one: DetectionView) -> Detection {
    let (band, help) = match one.state.as_str() {
        "deny" => (Band::High, "The call was refused, and so is what follows of its kind, until it pauses."),
        "step_up" => (Band::Medium, "The call waits for a person, as does what follows of its kind."),
        _ => (Band::Medium, "It was only observed. `action` in `[[detections]]` can have such calls wait, or refuse them."),
    };
    Detection {
        what: format!("{}: {} under {}: {}", one.detection, one.agent, one.grant, one.why),
        about: one.tool.unwrap_or_else(|| one.call.clone()),
        href: Some(format!("/calls/{}", one.call)),
        at_ms: Some(one.at_ms),
        band,
        help: help.to_owned(),
    }
}

/// Secrets that servers gave away lately.
pub(super) async fn given_away(runtime: &Runtime) -> Vec<Detection> {
    let (folder, end) = (runtime.data.trail(), runtime.recorder.trail().last_seq(Stream::Secrets) + 1);
    let found = beside(move || {
        let records = piece(&Reader::open(&folder)?, Stream::Secrets, end.saturating_sub(PIECE).max(1), end)?;
        let redacted = records.into_iter().rev().filter(|record| record.text("event") == Some("leaked")).take(ROWS);
        Ok(redacted.map(|record| taken_out(&record)).collect::<Vec<_>>())
    });
    found.await.unwrap_or_default()
}

fn taken_out(record: &Record) -> Detection {
    let connector = record.text("connector").unwrap_or("a server");
    Detection {
        what: format!("{connector} gave its lent secret away in a result"),
        about: record.text("call_id").unwrap_or_default().to_owned(),
        href: record.text("call_id").map(|id| format!("/calls/{id}")),
        at_ms: Some(record.unix_ms),
        band: Band::High,
        help: "It was taken out before the agent saw it. Ask whoever makes the server why it is there, and change the secret."
            .to_owned(),
    }
}

/// A call, with all that is on record about it.
pub(super) async fn call(runtime: &Runtime, id: String) -> Option<CallView> {
    // What is no id of a call is in no record: nothing is read for it.
    if !is_call_id(&id) {
        return None;
    }
    let (folder, ends) = (runtime.data.trail(), ends(runtime));
    let wanted = id.clone();
    let mut records = beside(move || about(&Reader::open(&folder)?, &wanted, &ends)).await.ok()?;
    records.sort_by_key(|record| (record.unix_ms, rank(record.stream), record.seq));
    let trace = records.iter().find_map(|record| record.text("trace_id")).map(str::to_owned)?;
    let picture = runtime.recent.of(&trace).map(picture);
    let records = records.iter().map(|record| (title(record), fields(record))).collect();
    Some(CallView { id, trace: Some(trace), picture, records })
}

/// What is on record about a call, looked for from the end back, as far as it may be.
fn about(reader: &Reader, id: &str, ends: &BTreeMap<&'static str, u64>) -> Result<Vec<Record>, TrailFault> {
    let born_ms = born_ms(id);
    let mut found = Vec::new();
    for stream in [Stream::Decisions, Stream::Secrets, Stream::Calls] {
        let mut end = ends.get(stream.name()).copied().unwrap_or(1);
        let last = end.saturating_sub(FAR).max(1);
        while end > last {
            let start = end.saturating_sub(PIECE).max(last);
            let records = piece(reader, stream, start, end)?;
            let is_before = records.first().is_none_or(|record| record.unix_ms.saturating_add(1000) < born_ms);
            found.extend(records.into_iter().filter(|record| record.text("call_id") == Some(id)));
            if is_before {
                break;
            }
            end = start;
        }
    }
    Ok(found)
}

/// The digits of ids.
const DIGITS: &str = "0123456789abcdefghjkmnpqrstvwxyz";

/// Whether this is the id of a call, as `CallId::new` writes it.
fn is_call_id(id: &str) -> bool {
    id.strip_prefix('c').is_some_and(|rest| rest.len() == 25 && rest.chars().all(|digit| DIGITS.contains(digit)))
}

/// When a call came, by its id: nine digits of five bits; the beginning of time where it is no such id.
fn born_ms(id: &str) -> u64 {
    let digits = id.strip_prefix('c').and_then(|rest| rest.get(..9)).unwrap_or_default();
    let value = |digit: char| DIGITS.find(digit).and_then(|at| u64::try_from(at).ok());
    digits.chars().try_fold(0_u64, |sum, digit| Some((sum << 5) | value(digit)?)).unwrap_or(0)
}

fn title(record: &Record) -> String {
    let what = ["outcome", "effect", "event"].iter().find_map(|key| record.text(key)).unwrap_or("recorded");
    format!("{} · {} {} · {}", record.time, record.stream.name(), record.seq, what.replace('_', " "))
}

fn fields(record: &Record) -> Vec<FieldView> {
    let field = |(name, value): (&String, &Value)| FieldView {
        name: name.clone(),
        value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    };
    record.body.iter().map(field).collect()
}

fn picture(passed: Passed) -> Picture {
    let bars = passed.parts.into_iter().map(|part| Bar {
        name: part.name.strip_prefix("bailiwick.").unwrap_or(&part.name).replace('.', " "),
        start_us: part.start_ns / 1000,
        length_us: part.length_ns / 1000,
        outward: part.outward,
        failed: part.failed,
    });
    Picture { total_us: passed.total_ns / 1000, bars: bars.collect() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use bailiwick_trail::{Options, Trail};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_of_a_call_is_one() {
        assert!(is_call_id(bailiwick_pipeline::ids::CallId::new(1_790_000_000_000, [255; 10]).as_str()));
        for other in ["", "c", "c1", "apr-0123456789012345678901234", "c012345678901234567890123l", "c01234567890123456789012345"]
        {
            assert!(!is_call_id(other), "{other}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_typed() {
        assert_eq!(time("1970-01-02"), Some(86_400_000));
        assert_eq!(time("2026-11-21T23:19"), Some(1_795_303_140_000));
        assert_eq!(time(" 2000-02-29 00:00Z "), Some(951_782_400_000));
        for bad in ["", "yesterday", "2026-13-01", "2026-01-01T25:00", "2026-01", "2026-01-01T1"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_record_is_on_exactly_one_page_and_the_pages_are_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trail");
        let (trail, _) = Trail::open(&path, Options::default()).unwrap();
        // More of one stream than of the other, and several in one millisecond.
        for n in 0..5_000_u64 {
            let record =
                json!({"event": "outcome", "call_id": format!("c{n}"), "agent": if n % 7 == 0 { "rare" } else { "often" }});
            trail.append(Stream::Calls, 1_000_000 + n / 3, &record).unwrap();
            if n % 50 == 0 {
                trail.append(Stream::Admin, 1_000_000 + n / 3, &json!({"event": "frozen", "by": "rare", "about": "x"})).unwrap();
            }
        }
        let ends: BTreeMap<_, _> = Stream::ALL.into_iter().map(|stream| (stream.name(), trail.last_seq(stream) + 1)).collect();
        let reader = Reader::open(&path).unwrap();
        let mut query = AuditQuery { agent: "rare".into(), ..AuditQuery::default() };
        let mut all: Vec<AuditRow> = Vec::new();
        for _ in 0..200 {
            let page = searched(&reader, &query, ends.clone()).unwrap();
            assert!(page.rows.len() <= ROWS + 8 && page.read <= 4 * usize::try_from(PIECE).unwrap());
            all.extend(page.rows);
            match page.older {
                Some(older) => query.before = older,
                None => break,
            }
        }
        assert_eq!(all.len(), 5_000_usize.div_ceil(7) + 100);
        assert!(all.windows(2).all(|pair| pair.first().unwrap().at_ms >= pair.last().unwrap().at_ms));
        let calls: std::collections::BTreeSet<_> = all.iter().filter_map(|row| row.call.as_ref()).collect();
        assert_eq!(calls.len(), 5_000_usize.div_ceil(7));
        let one = AuditQuery { id: "c4200".into(), ..AuditQuery::default() };
        assert_eq!(searched(&reader, &one, ends.clone()).unwrap().rows.len(), 1);
        assert_eq!(about(&reader, "c4200", &ends).unwrap().len(), 1);
        let id = bailiwick_pipeline::ids::CallId::new(1_795_303_179_042, [7; 10]);
        assert_eq!((born_ms(id.as_str()), born_ms("c4200"), born_ms("x")), (1_795_303_179_042, 0, 0));
    }
}
