//! What a rule demands of a call beside a yes: what is masked or left out, what is kept, and how much may come back.

use std::collections::BTreeMap;
use std::fmt;

use crate::fault::nearest;

/// The longest text of an annotation, in bytes.
const LONGEST: usize = 4096;
/// So many things one rule may have masked.
const MOST: usize = 64;
/// So many keys a pointer may have.
const DEEPEST: usize = 32;

/// Everything that the rules behind a decision demand. Of two that say something about the same, the stricter counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obligations {
    /// What is masked or left out, in order, each thing once.
    pub redactions: Vec<Redaction>,
    /// How much may come back. Each of them holds.
    pub limits: Vec<Limit>,
    /// Whether arguments and result are kept, sealed (`@log("full")`).
    pub keep_bodies: bool,
}

/// One thing that is masked or left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Redaction {
    /// In what.
    pub part: Part,
    /// Which part of it.
    pub what: What,
    /// What becomes of it.
    pub how: How,
}

/// What something is redacted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The arguments, as people and records have them. What is sent stays as it is.
    Args,
    /// What comes back.
    Result,
}

/// Which part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// What stands there.
    At(Pointer),
    /// Whatever looks like this, anywhere.
    Shape(Shape),
}

/// What becomes of what is redacted, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// A mark stands for it.
    Mask,
    /// It is left out, with its key.
    Remove,
}

/// A JSON pointer (RFC 6901), in which `*` stands for every key or item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    text: String,
    steps: Vec<Step>,
}

/// One step of a pointer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Every member or item.
    Each,
    /// The member with this key, or the item with this number.
    Key(String),
}

impl Pointer {
    /// Its steps, from outside.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn read(text: &str) -> Result<Self, Complaint> {
        let wrong = |why: &str, help: &str| Err((format!("`{text}` is no pointer: {why}"), Some(help.to_owned())));
        let Some(rest) = text.strip_prefix('/') else {
            return wrong(
                "it does not begin with `/`",
                "write a JSON pointer such as `/customer/email`; `*` stands for every item",
            );
        };
        let mut steps = Vec::new();
        for step in rest.split('/') {
            if step.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
                return wrong("`~` stands alone", "write `~0` for `~` and `~1` for `/`");
            }
            steps.push(if step == "*" { Step::Each } else { Step::Key(step.replace("~1", "/").replace("~0", "~")) });
        }
        if steps.len() > DEEPEST {
            return wrong("it is too deep", &format!("it may have {DEEPEST} keys"));
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

/// What can be told by how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// API keys and tokens of well-known issuers.
    Keys,
    /// JSON Web Tokens.
    Jwts,
    /// PEM blocks of private keys.
    Pems,
    /// Numbers of payment cards.
    Cards,
    /// International bank account numbers.
    Ibans,
    /// E-mail addresses.
    Emails,
    /// Telephone numbers in international form.
    Phones,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 7] = [Self::Keys, Self::Jwts, Self::Pems, Self::Cards, Self::Ibans, Self::Emails, Self::Phones];

    /// The word for it in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Jwts => "jwts",
            Self::Pems => "pems",
            Self::Cards => "cards",
            Self::Ibans => "ibans",
            Self::Emails => "emails",
            Self::Phones => "phones",
        }
    }
}

/// How much may come back (`@limit`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit {
    /// The list whose items are counted and cut.
    pub at: Option<Pointer>,
    /// So many items of it.
    pub rows: Option<u64>,
    /// So many bytes in all.
    pub bytes: Option<u64>,
    /// Whether more is refused, and not cut.
    pub refuses: bool,
}

/// What is wrong with an annotation: what, and help.
type Complaint = (String, Option<String>);

impl Obligations {
    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.redactions.is_empty() && self.limits.is_empty() && !self.keep_bodies
    }

    /// Adds what others demand.
    pub fn join(&mut self, others: &Self) {
        if others.is_empty() {
            return;
        }
        let mut all: BTreeMap<(Part, What), How> = BTreeMap::new();
        for redaction in self.redactions.drain(..).chain(others.redactions.iter().cloned()) {
            let how = all.entry((redaction.part, redaction.what)).or_insert(redaction.how);
            *how = (*how).max(redaction.how);
        }
        self.redactions = all.into_iter().map(|((part, what), how)| Redaction { part, what, how }).collect();
        self.limits.extend(others.limits.iter().cloned());
        self.limits.sort();
        self.limits.dedup();
        self.keep_bodies |= others.keep_bodies;
    }

    /// What is demanded of one part.
    pub fn of(&self, part: Part) -> impl Iterator<Item = &Redaction> {
        self.redactions.iter().filter(move |redaction| redaction.part == part)
    }

    /// Each in the words of policies: for records, and for what an approval is bound to.
    pub fn words(&self) -> Vec<String> {
        let redactions = self.redactions.iter().map(|redaction| format!("redact {redaction}"));
        let limits = self.limits.iter().map(|limit| format!("limit {limit}"));
        redactions.chain(limits).chain(self.keep_bodies.then(|| "log full".to_owned())).collect()
    }
}

impl fmt::Display for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Args => "args",
            Part::Result => "result",
        };
        match &self.what {
            What::At(pointer) => write!(f, "{part}:{}", pointer.text)?,
            What::Shape(shape) => write!(f, "{part}:detect({})", shape.as_str())?,
        }
        f.write_str(match self.how {
            How::Mask => " mask",
            How::Remove => " remove",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows.map(|rows| format!("rows={rows}"));
        let bytes = self.bytes.map(|bytes| format!("bytes={bytes}"));
        let at = self.at.as_ref().map(|at| format!("at={}", at.text));
        let over = self.refuses.then(|| "over=refuse".to_owned());
        f.write_str(&[rows, bytes, at, over].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Reads the text of `@redact`: parts of arguments and results, by comma, each with what becomes of it.
pub(crate) fn redactions(text: &str) -> Result<Vec<Redaction>, Complaint> {
    check_length("redact", text)?;
    let mut found = Obligations::default();
    for item in items(text) {
        found.join(&Obligations { redactions: redaction(item)?, ..Obligations::default() });
    }
    if found.redactions.len() > MOST {
        return Err((
            format!("`@redact` names more than {MOST} things"),
            Some("use `*` in a pointer, or several rules".to_owned()),
        ));
    }
    Ok(found.redactions)
}

fn check_length(key: &str, text: &str) -> Result<(), Complaint> {
    let help = || Some("use several rules: what each of them demands holds".to_owned());
    if text.len() > LONGEST { Err((format!("`@{key}` is longer than {LONGEST} bytes"), help())) } else { Ok(()) }
}

/// The parts between commas that stand in no parentheses and in no quotes.
fn items(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut is_quoted, mut depth) = (Vec::new(), 0, false, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.saturating_sub(1),
            ',' if !is_quoted && depth == 0 => {
                parts.push(text.get(from..at).unwrap_or_default().trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(from..).unwrap_or_default().trim());
    parts
}

fn redaction(item: &str) -> Result<Vec<Redaction>, Complaint> {
    let form = "write `result:/pointer`, `result:/pointer remove`, `result:detect(cards, keys)` or the same with `args:`";
    let wrong = || (format!("`{item}` in `@redact` can't be read"), Some(form.to_owned()));
    let (part, rest) = item.split_once(':').ok_or_else(wrong)?;
    let part = match part.trim() {
        "args" => Part::Args,
        "result" => Part::Result,
        other => return Err(unknown("part", other, &["args", "result"])),
    };
    let rest = rest.trim();
    let (what, how) = cut(rest).ok_or_else(wrong)?;
    let how = match how {
        "" | "mask" => How::Mask,
        "remove" => How::Remove,
        other => return Err(unknown("word", other, &["mask", "remove"])),
    };
    if part == Part::Args && how == How::Remove {
        let help =
            "write `mask`: arguments are sent as they were judged and approved, and only people and records don't see them";
        return Err((format!("`{item}` would change what is sent"), Some(help.to_owned())));
    }
    let Some(names) = what.strip_prefix("detect(").and_then(|names| names.strip_suffix(')')) else {
        let pointer = Pointer::read(what)?;
        return Ok(vec![Redaction { part, what: What::At(pointer), how }]);
    };
    if how == How::Remove {
        let help = "write it without `remove`: what is left out of a text would join what stands around it";
        return Err((format!("`{item}` can't be left out"), Some(help.to_owned())));
    }
    let known = Shape::ALL.map(Shape::as_str);
    let shape = |name: &str| {
        let found = Shape::ALL.into_iter().find(|shape| shape.as_str() == name);
        found.ok_or_else(|| unknown("detector", name, &known))
    };
    let shapes = names.split(',').map(|name| shape(name.trim()));
    shapes.map(|shape| Ok(Redaction { part, what: What::Shape(shape?), how })).collect()
}

/// What is named, without its quotes, and the word behind it.
fn cut(rest: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = rest.strip_prefix('\'') {
        let (what, how) = quoted.split_once('\'')?;
        return Some((what, how.trim()));
    }
    if rest.starts_with("detect(") {
        let end = rest.find(')')? + 1;
        return Some((rest.get(..end)?, rest.get(end..)?.trim()));
    }
    match rest.split_once(char::is_whitespace) {
        Some((what, how)) => Some((what, how.trim())),
        None if rest.is_empty() => None,
        None => Some((rest, "")),
    }
}

fn unknown(sort: &str, word: &str, known: &[&'static str]) -> Complaint {
    let help = match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
    };
    (format!("unknown {sort} `{word}`"), Some(help))
}

/// Reads the text of `@limit`.
pub(crate) fn limit(text: &str) -> Result<Limit, Complaint> {
    check_length("limit", text)?;
    let mut limit = Limit { at: None, rows: None, bytes: None, refuses: false };
    let mut seen = Vec::new();
    for item in items(text) {
        let form = "write such as `@limit(\"rows=100, at=/items\")` or `@limit(\"bytes=65536, over=refuse\")`";
        let wrong = || (format!("`{item}` in `@limit` can't be read"), Some(form.to_owned()));
        let (key, value) = item.split_once('=').ok_or_else(wrong)?;
        let (key, value) = (key.trim(), value.trim().trim_matches('\''));
        if seen.contains(&key) {
            return Err((format!("`{key}` stands twice in `@limit`"), Some("say it once".to_owned())));
        }
        seen.push(key);
        let number = || value.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(wrong);
        match key {
            "rows" => limit.rows = Some(number()?),
            "bytes" => limit.bytes = Some(number()?),
            "at" => limit.at = Some(Pointer::read(value)?),
            "over" => match value {
                "cut" => limit.refuses = false,
                "refuse" => limit.refuses = true,
                other => return Err(unknown("word", other, &["cut", "refuse"])),
            },
            other => return Err(unknown("key", other, &["rows", "bytes", "at", "over"])),
        }
    }
    check_limit(limit)
}

fn check_limit(limit: Limit) -> Result<Limit, Complaint> {
    let wrong = |what: &str, help: &str| Err((format!("`@limit` {what}"), Some(help.to_owned())));
    if limit.rows.is_none() && limit.bytes.is_none() {
        return wrong("limits nothing", "say `rows=` or `bytes=`");
    }
    match &limit.at {
        None if limit.rows.is_some() => wrong("counts rows of no list", "say which: `at=/items`"),
        None if !limit.refuses => wrong("has nothing to cut", "say which list may be cut: `at=/items`; or `over=refuse`"),
        Some(at) if at.steps.contains(&Step::Each) => wrong("names more than one list", "write a pointer without `*`"),
        _ => Ok(limit),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{How, Limit, Obligations, limit, redactions};

    fn words(text: &str) -> Vec<String> {
        redactions(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_redacted_is_read_exactly() {
        let text = "result:/customer/email remove, result:detect(cards, keys) , args:/note mask, result:'/a, b/*/c~1d'";
        let found = words(text);
        assert_eq!(
            found,
            [
                "args:/note mask",
                "result:/a, b/*/c~1d mask",
                "result:/customer/email remove",
                "result:detect(keys) mask",
                "result:detect(cards) mask"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_write() {
        for (text, what, help) in [
            ("pii", "`pii` in `@redact` can't be read", "result:/pointer"),
            ("results:/a", "unknown part `results`", "did you mean `result`?"),
            ("result:a", "`a` is no pointer: it does not begin with `/`", "/customer/email"),
            ("result:/a~", "`/a~` is no pointer: `~` stands alone", "~0"),
            ("result:/a removed", "unknown word `removed`", "did you mean `remove`?"),
            ("result:detect(card)", "unknown detector `card`", "did you mean `cards`?"),
            ("result:detect(cards) remove", "can't be left out", "without `remove`"),
            ("args:/a remove", "`args:/a remove` would change what is sent", "write `mask`"),
            ("result:/a,", "`` in `@redact` can't be read", "write"),
            ("result:", "`result:` in `@redact` can't be read", "write"),
            ("result:detect(", "can't be read", "write"),
        ] {
            let (found, advice) = redactions(text).unwrap_err();
            assert!(found.contains(what), "{text}: {found}");
            assert!(advice.unwrap_or_default().contains(help), "{text}");
        }
        let many: Vec<String> = (0..65).map(|at| format!("result:/{at}")).collect();
        assert!(redactions(&many.join(",")).unwrap_err().0.contains("more than 64"));
        assert!(redactions(&format!("result:/{}", "a".repeat(4096))).unwrap_err().0.contains("longer than"));
        assert!(redactions(&format!("result:{}", "/a".repeat(33))).unwrap_err().0.contains("too deep"));
    }

    #[test]
    fn limits_are_read_exactly() {
        let read = |text| limit(text).map(|limit: Limit| limit.to_string()).map_err(|fault| fault.0);
        assert_eq!(read("rows=100, bytes=65536, at=/items").unwrap(), "rows=100, bytes=65536, at=/items");
        assert_eq!(read("bytes=10,over=refuse").unwrap(), "bytes=10, over=refuse");
        for (text, what) in [
            ("rows=0, at=/a", "can't be read"),
            ("rows=10", "counts rows of no list"),
            ("bytes=10", "has nothing to cut"),
            ("over=refuse", "limits nothing"),
            ("row=1", "unknown key `row`"),
            ("rows=1, rows=2, at=/a", "stands twice"),
            ("rows=1, at=/*/a", "more than one list"),
            ("rows=1, at=/a, over=drop", "unknown word `drop`"),
        ] {
            assert!(read(text).unwrap_err().contains(what), "{text}");
        }
    }

    #[test]
    fn of_two_the_stricter_counts() {
        let of = |text| Obligations { redactions: redactions(text).unwrap(), ..Obligations::default() };
        for (one, other) in [("result:/a", "result:/a remove, result:/b"), ("result:/a remove, result:/b", "result:/a")] {
            let mut joined = of(one);
            joined.join(&of(other));
            assert_eq!(joined.words(), ["redact result:/a remove", "redact result:/b mask"]);
            assert_eq!(joined.redactions.first().unwrap().how, How::Remove);
        }
        let mut limits = Obligations { limits: vec![limit("rows=9, at=/a").unwrap()], ..Obligations::default() };
        let mut more = limits.clone();
        more.limits.push(limit("rows=3, at=/a").unwrap());
        more.keep_bodies = true;
        limits.join(&more);
        assert_eq!(limits.words(), ["limit rows=3, at=/a", "limit rows=9, at=/a", "log full"]);
        assert!(Obligations::default().is_empty() && !limits.is_empty());
    }
}
