//! What a server lists of its features besides tools: resources, their templates, and prompts. All pages, bounded, item by item: one that
//! is malformed is left out, and the others stay as they were written.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Instant};

use bailiwick_pipeline::ports::{Listing, Offer, Offers, SendFailure};
use bailiwick_schemas::json;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    handshake::{Unopened, ask},
    link::Link,
    listing::{Page, read_page},
    message::quoted,
    version::Version,
};

/// The most pages of a list.
const PAGES: usize = 64;
/// The most items of a list.
const ITEMS: usize = 5_000;
/// The most bytes of all pages together.
const LIST_BYTES: usize = 2 * 1024 * 1024;
/// The longest item, and the longest name of one.
const ITEM_BYTES: usize = 64 * 1024;
const ID_BYTES: usize = 4096;

/// The last lists of one session.
#[derive(Default)]
pub(crate) struct Kept {
    lists: HashMap<Listing, (Instant, u64, Arc<Offers>)>,
}

impl Kept {
    /// The list, where it is younger than that and the server has not said that it changed since.
    pub(crate) fn fresh(&self, listing: Listing, changes: u64, most: std::time::Duration) -> Option<Arc<Offers>> {
        let (at, then, offers) = self.lists.get(&listing)?;
        (*then == changes && at.elapsed() < most).then(|| Arc::clone(offers))
    }

    /// Keeps a list that was asked for at `at`, when the server had said `changes` times that it changed.
    pub(crate) fn keep(&mut self, listing: Listing, at: Instant, changes: u64, offers: &Arc<Offers>) {
        self.lists.insert(listing, (at, changes, Arc::clone(offers)));
    }
}

/// Reads a list, all pages.
pub(crate) async fn read(
    link: &dyn Link,
    listing: Listing,
    version: Version,
    patience: std::time::Duration,
) -> Result<Offers, Unopened> {
    let (method, member, id) = words(listing);
    let (mut pages, mut bytes, mut members) = (Vec::new(), 0_usize, String::new());
    loop {
        let result = ask(link, method, &members, version, patience).await?;
        bytes = bytes.saturating_add(result.len());
        if bytes > LIST_BYTES {
            return Err(format!("the answers to `{method}` have more than {LIST_BYTES} bytes").into());
        }
        let Page { items, next } = read_page(&result, method, member)?;
        pages.push(items);
        let Some(cursor) = next else { break };
        if pages.len() >= PAGES {
            return Err(format!("the answer to `{method}` has more than {PAGES} pages").into());
        }
        members = format!("\"cursor\":{}", quoted(&cursor));
    }
    Ok(judged(&pages, member, id)?)
}

/// Method, member of the answer, and member of an item that names it (MCP `server/resources`, `server/prompts`).
fn words(listing: Listing) -> (&'static str, &'static str, &'static str) {
    match listing {
        Listing::Resources => ("resources/list", "resources", "uri"),
        Listing::Templates => ("resources/templates/list", "resourceTemplates", "uriTemplate"),
        Listing::Prompts => ("prompts/list", "prompts", "name"),
    }
}

/// The items that are what they must be. Of two with one name neither stays: nobody could say which is meant.
fn judged(pages: &[Bytes], member: &str, id: &str) -> Result<Offers, String> {
    let mut offers = Offers::default();
    for page in pages {
        let items: Vec<&RawValue> = serde_json::from_slice(page).map_err(|_| format!("`{member}` is not an array"))?;
        if offers.items.len() + items.len() > ITEMS {
            return Err(format!("it lists more than {ITEMS} {member}"));
        }
        for item in items {
            match named(item.get(), id) {
                Some(name) => offers.items.push(Offer { id: name, text: page.slice_ref(item.get().as_bytes()) }),
                None => offers.left_out += 1,
            }
        }
    }
    let mut times: HashMap<String, u32> = HashMap::with_capacity(offers.items.len());
    for offer in &offers.items {
        *times.entry(offer.id.clone()).or_default() += 1;
    }
    let before = offers.items.len();
    offers.items.retain(|offer| times.get(&offer.id) == Some(&1));
    offers.left_out += before - offers.items.len();
    Ok(offers)
}

/// The name of an item: none where it is no object of bearable size with a name. What comes with a prompt must be what it says, too:
/// clients lose the whole list over one that is not.
fn named(item: &str, id: &str) -> Option<String> {
    if item.len() > ITEM_BYTES {
        return None;
    }
    let fields = json::fields(item).ok()?;
    let text = |key: &str| {
        let (_, value) = fields.iter().find(|(name, _)| name == key)?;
        serde_json::from_str::<String>(value.get()).ok()
    };
    let has_fit = |key: &str, fit: &[&str]| {
        fields
            .iter()
            .find(|(name, _)| name == key)
            .is_none_or(|(_, value)| fit.iter().any(|first| value.get().starts_with(first)))
    };
    let are_texts = ["title", "description", "mimeType"].iter().all(|key| has_fit(key, &["\""]));
    let are_objects = ["_meta", "annotations"].iter().all(|key| has_fit(key, &["{"]));
    let is_fit =
        are_texts && are_objects && has_fit("arguments", &["["]) && has_fit("icons", &["["]) && has_named_arguments(&fields);
    // A resource and a template have a name beside their URI.
    let has_name = id == "name" || text("name").is_some();
    text(id).filter(|name| is_fit && has_name && !name.is_empty() && name.len() <= ID_BYTES)
}

/// Whether each argument of a prompt, if it has any, is an object with a name.
fn has_named_arguments(fields: &[(Cow<'_, str>, &RawValue)]) -> bool {
    let Some((_, arguments)) = fields.iter().find(|(key, _)| key == "arguments") else { return true };
    let arguments: Vec<&RawValue> = serde_json::from_str(arguments.get()).unwrap_or_default();
    arguments.iter().all(|argument| {
        let fields = json::fields(argument.get()).unwrap_or_default();
        fields.iter().any(|(key, value)| key == "name" && value.get().starts_with('"'))
    })
}

/// A list that could not be read, as a failure of the call that asked for it.
pub(crate) fn failure(unread: Unopened) -> SendFailure {
    unread.failure.unwrap_or(SendFailure::Protocol(unread.why))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn offers(items: &str, member: &str, id: &str) -> Offers {
        judged(&[Bytes::copy_from_slice(items.as_bytes())], member, id).unwrap()
    }

    #[test]
    fn what_is_fit_stays_as_it_was_written_and_the_rest_is_counted() {
        let list = r#"[{"uri":"a:1","name":"one", "size":1.0e2},7,{"uri":"a:2"},{"uri":7,"name":"x"},{"uri":"a:3","name":"n","_meta":[]},
            {"uri":"a:4","name":"n"},{"name":"n","uri":"a:\u0034"},{"uri":"","name":"n"},{"z":null,"uri":"a:5","name":"five"}]"#;
        let read = offers(list, "resources", "uri");
        let kept: Vec<_> = read.items.iter().map(|offer| (offer.id.as_str(), offer.text.as_ref())).collect();
        assert_eq!(
            kept,
            [
                ("a:1", br#"{"uri":"a:1","name":"one", "size":1.0e2}"#.as_slice()),
                ("a:5", br#"{"z":null,"uri":"a:5","name":"five"}"#.as_slice())
            ]
        );
        assert_eq!(read.left_out, 7);
    }

    #[test]
    fn prompts_need_a_name_and_arguments_that_are_a_list() {
        let read = offers(
            r#"[{"name":"a"},{"name":"b","arguments":{}},{"name":"c","arguments":[]},{"title":"d"},{"name":"e","arguments":[{}]},
            {"name":"f","arguments":[{"name":"x"}]},{"name":"g","title":7},{"name":"h","icons":{}},{"name":"i","description":null}]"#,
            "prompts",
            "name",
        );
        assert_eq!(read.items.iter().map(|offer| offer.id.as_str()).collect::<Vec<_>>(), ["a", "c", "f"]);
        assert!(judged(&[Bytes::from_static(b"{}")], "prompts", "name").is_err());
    }

    #[test]
    fn a_list_is_kept_until_it_is_old_or_the_server_says_that_it_changed() {
        let (mut kept, offers) = (Kept::default(), Arc::new(Offers::default()));
        let long = std::time::Duration::from_hours(1);
        kept.keep(Listing::Prompts, Instant::now(), 3, &offers);
        assert!(kept.fresh(Listing::Prompts, 3, long).is_some());
        assert!(kept.fresh(Listing::Prompts, 4, long).is_none());
        assert!(kept.fresh(Listing::Prompts, 3, std::time::Duration::ZERO).is_none());
        assert!(kept.fresh(Listing::Resources, 3, long).is_none());
    }
}
