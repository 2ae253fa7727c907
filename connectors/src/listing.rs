//! A server's tool list: read page by page, in bounds, and judged.
//!
//! What is kept of a list for as long as its session lives is the digest of each acceptable tool, and of the others a short name and what
//! is wrong with them. Only who looks at a server keeps its definitions.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bailiwick_schemas::{
    canonical::Digest,
    definition::{DEFINITION_BYTES, Definition, Fault},
    json,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    handshake::{Unopened, ask},
    link::Link,
    message::quoted,
    version::Version,
};

/// The most pages of a tool list.
const PAGES: usize = 64;
/// The most tools of a server.
const TOOLS: usize = 4096;
/// The most bytes of all pages together, with everything beside the tools: each page is held until the last one is there.
const LIST_BYTES: usize = 8 * 1024 * 1024;
/// The longest cursor.
const CURSOR_BYTES: usize = 4096;
/// The longest text of a definition that is looked into, spaces and all: a tree of values takes many times the room of its text.
const TEXT_BYTES: usize = 2 * DEFINITION_BYTES;
/// The longest name that is kept of a tool that is not acceptable. A longer one is not cut, as half of a secret would not be known as one.
const NAME_BYTES: usize = 256;
/// What stands for a longer one.
const LONG_NAME: &str = "…";

/// The last reading among all children of one connector: as long as they list the same text, it is read once.
pub(crate) type ListCache = Arc<Mutex<Option<Arc<Reading>>>>;

/// How much of a list is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// What calls need.
    Digests,
    /// The definitions too: for who looks at a server.
    Definitions,
}

/// How a list is read.
#[derive(Clone)]
pub(crate) struct Reader {
    /// What the others of this connector list.
    pub(crate) cache: ListCache,
    pub(crate) keep: Keep,
    /// How long each page may take.
    pub(crate) patience: Duration,
}

/// A tool list, and when it was true.
pub(crate) struct Listing {
    pub(crate) reading: Arc<Reading>,
    /// How often the server had said that its tools changed, before it listed them.
    pub(crate) changes: u64,
    pub(crate) at: Instant,
}

/// A tool list, read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Of the text as listed, all pages.
    pub(crate) text: Digest,
    pub(crate) tools: HashMap<String, Digest>,
    pub(crate) dropped: Vec<Dropped>,
    /// The definitions as listed, but for those that are too large; none unless they are to be kept.
    pub(crate) definitions: Vec<Box<RawValue>>,
}

/// A tool that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Its position in the list, from 0.
    pub(crate) index: usize,
    /// The name it claims, as it is.
    pub(crate) name: String,
    pub(crate) fault: Fault,
}

impl Reading {
    /// The acceptable tools that are in one of the two and not the same in the other.
    pub(crate) fn others_than(&self, new: &Self) -> Vec<String> {
        let gone = self.tools.iter().filter(|(name, digest)| new.tools.get(*name) != Some(*digest));
        let come = new.tools.keys().filter(|name| !self.tools.contains_key(*name));
        gone.map(|(name, _)| name).chain(come).cloned().collect()
    }

    /// The digests of the acceptable tools, by name.
    pub(crate) fn digests(&self) -> BTreeMap<String, Digest> {
        self.tools.iter().map(|(name, digest)| (name.clone(), *digest)).collect()
    }
}

impl Reader {
    /// Reads the tool list, all pages.
    pub(crate) async fn list(&self, link: &dyn Link, version: Version) -> Result<Listing, Unopened> {
        // Taken before the first page: a change that is told meanwhile makes us read again.
        let changes = link.changes().of_tools();
        let at = Instant::now();
        let mut pages = Vec::new();
        let mut bytes = 0_usize;
        let mut members = String::new();
        loop {
            let result = ask(link, "tools/list", &members, version, self.patience).await?;
            // All of it: a part that is kept keeps the whole.
            bytes = bytes.saturating_add(result.len());
            if bytes > LIST_BYTES {
                return Err(format!("the tool list has more than {LIST_BYTES} bytes").into());
            }
            let page = read_page(&result, "tools/list", "tools")?;
            pages.push(page.items);
            let Some(cursor) = page.next else { break };
            if pages.len() >= PAGES {
                return Err(format!("the tool list has more than {PAGES} pages").into());
            }
            members = format!("\"cursor\":{}", quoted(&cursor));
        }
        let text = Digest::of(&pages.join(b"\n".as_slice()));
        let known = self.last().clone().filter(|known| known.text == text);
        let reading = match known {
            Some(known) => known,
            None => self.read(text, pages).await?,
        };
        *self.last() = Some(Arc::clone(&reading));
        Ok(Listing { reading, changes, at })
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Arc<Reading>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges all definitions: work for a thread that may be busy.
    async fn read(&self, text: Digest, pages: Vec<Bytes>) -> Result<Arc<Reading>, String> {
        let keep = self.keep;
        let work = move || read(text, &pages, keep).map(Arc::new);
        tokio::task::spawn_blocking(work).await.map_err(|_| "the tool list can't be read".to_owned())?
    }
}

/// Judges all definitions, one after the other: no more than one is a tree of values at a time, unless they are to be kept.
fn read(text: Digest, pages: &[Bytes], keep: Keep) -> Result<Reading, String> {
    let mut listed: Vec<&RawValue> = Vec::new();
    for page in pages {
        let tools: Vec<&RawValue> = serde_json::from_slice(page).map_err(|_| "`tools` is not an array".to_owned())?;
        listed.extend(tools);
        if listed.len() > TOOLS {
            return Err(format!("it lists more than {TOOLS} tools"));
        }
    }
    let names: Vec<Cow<'_, str>> = listed.iter().map(|tool| claimed_name(tool)).collect();
    let mut times: HashMap<&str, u32> = HashMap::with_capacity(names.len());
    for name in names.iter().filter(|name| !name.is_empty()) {
        *times.entry(name).or_default() += 1;
    }
    let mut reading = Reading { text, tools: HashMap::new(), dropped: Vec::new(), definitions: Vec::new() };
    for (index, (tool, name)) in listed.iter().zip(&names).enumerate() {
        let is_twin = times.get(name.as_ref()).is_some_and(|times| *times > 1);
        match judge(tool, is_twin, keep, &mut reading.definitions) {
            Ok((name, digest)) => drop(reading.tools.insert(name, digest)),
            Err(fault) => {
                let name = if name.len() > NAME_BYTES { LONG_NAME } else { name }.to_owned();
                reading.dropped.push(Dropped { index, name, fault });
            }
        }
    }
    Ok(reading)
}

/// The name and the digest of an acceptable tool.
fn judge(tool: &RawValue, is_twin: bool, keep: Keep, kept: &mut Vec<Box<RawValue>>) -> Result<(String, Digest), Fault> {
    let size = tool.get().len();
    if size > TEXT_BYTES {
        return Err(Fault::TooLarge { size });
    }
    if is_twin && keep == Keep::Digests {
        return Err(Fault::Duplicate);
    }
    let read = Definition::read(tool).map(|tool| (tool.name().to_string(), tool.digest()));
    if keep == Keep::Definitions && !matches!(read, Err(Fault::TooLarge { .. })) {
        kept.push(tool.to_owned());
    }
    if is_twin { Err(Fault::Duplicate) } else { read }
}

/// The name that a tool claims; empty when it has none.
fn claimed_name(tool: &RawValue) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Claim<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    serde_json::from_str::<Claim<'_>>(tool.get()).map_or(Cow::Borrowed(""), |claim| claim.name)
}

/// One page of a list.
pub(crate) struct Page {
    /// The array, as written.
    pub(crate) items: Bytes,
    pub(crate) next: Option<String>,
}

/// Reads the answer to `method`, whose list is in `member`.
pub(crate) fn read_page(result: &Bytes, method: &str, member: &str) -> Result<Page, String> {
    let (mut items, mut next) = (None, None);
    for (key, value) in json::fields(text(result)?).map_err(|fault| format!("the answer to `{method}`: {fault}"))? {
        match key.as_ref() {
            key if key == member => items = Some(result.slice_ref(value.get().as_bytes())),
            "nextCursor" => {
                let cursor: Option<String> = serde_json::from_str(value.get()).map_err(|_| "`nextCursor` is not a string")?;
                next = cursor.filter(|cursor| !cursor.is_empty());
            }
            _ => {}
        }
    }
    if next.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES) {
        return Err("`nextCursor` is too long".to_owned());
    }
    Ok(Page { items: items.ok_or_else(|| format!("the answer to `{method}` has no `{member}`"))?, next })
}

pub(crate) fn text(result: &Bytes) -> Result<&str, String> {
    std::str::from_utf8(result).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn read_tools(tools: &[String], keep: Keep) -> Reading {
        let page = Bytes::from(format!("[{}]", tools.join(",")));
        read(Digest::of(b""), &[page], keep).unwrap()
    }

    fn tool(name: &str) -> String {
        format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
    }

    #[test]
    fn a_definition_is_judged_by_the_length_of_its_text_before_anything_is_made_of_it() {
        // As a value it is one of the smallest there are: nothing was made of it.
        let spacious = format!(r#"{{"name":"wide",{}"inputSchema":{{"type":"object"}}}}"#, " ".repeat(TEXT_BYTES));
        for keep in [Keep::Digests, Keep::Definitions] {
            let reading = read_tools(&[tool("a"), spacious.clone(), tool("b")], keep);
            assert_eq!(reading.digests().into_keys().collect::<Vec<_>>(), ["a", "b"]);
            let expected = Dropped { index: 1, name: "wide".to_owned(), fault: Fault::TooLarge { size: spacious.len() } };
            assert_eq!(reading.dropped, [expected]);
            assert_eq!(reading.definitions.len(), if keep == Keep::Digests { 0 } else { 2 });
        }
    }

    #[test]
    fn what_is_kept_of_a_bad_definition_is_short() {
        let long = "n".repeat(TEXT_BYTES / 2);
        let reading = read_tools(&[tool(&long), format!(r#"{{"name":"x","y":"{long}"}}"#), "7".to_owned()], Keep::Digests);
        let kept: Vec<&str> = reading.dropped.iter().map(|dropped| dropped.name.as_str()).collect();
        assert_eq!((kept, reading.tools.len()), (vec![LONG_NAME, "x", ""], 0));
        assert!(format!("{reading:?}").len() < 2000);
    }

    #[test]
    fn a_name_listed_twice_is_dropped_twice_however_large_one_of_them_is() {
        let wide = format!(r#"{{"name":"a",{}"inputSchema":{{"type":"object"}}}}"#, " ".repeat(TEXT_BYTES));
        let reading =
            read_tools(&[tool("a"), tool("b"), wide, r#"{"name":"\u0062","inputSchema":{}}"#.to_owned()], Keep::Digests);
        assert!(reading.tools.is_empty());
        let faults: Vec<bool> = reading.dropped.iter().map(|dropped| dropped.fault == Fault::Duplicate).collect();
        assert_eq!(faults, [true, true, false, true]);
    }

    #[test]
    fn a_list_is_read_as_the_judge_of_definitions_reads_it() {
        let tools = [tool("a"), tool("b"), tool("a"), "[]".to_owned(), tool("b c"), r#"{"name":"d"}"#.to_owned()];
        let texts: Vec<Box<RawValue>> = tools.iter().map(|tool| serde_json::from_str(tool).unwrap()).collect();
        let (ours, theirs) = (read_tools(&tools, Keep::Definitions), bailiwick_schemas::definition::read_list(&texts));
        assert_eq!(ours.definitions.iter().map(|text| text.get()).collect::<Vec<_>>(), tools);
        assert_eq!(ours.tools.len(), theirs.accepted.len());
        assert_eq!(ours.tools["b"], theirs.accepted[0].digest());
        let ours: Vec<_> = ours.dropped.into_iter().map(|dropped| (dropped.index, dropped.fault)).collect();
        assert_eq!(ours, theirs.findings.into_iter().map(|finding| (finding.index, finding.fault)).collect::<Vec<_>>());
    }
}
