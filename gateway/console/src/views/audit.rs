//! The trail, as it is read.

/// What is looked for. Empty words stand for anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct AuditQuery {
    /// The agent.
    pub agent: String,
    /// A part of the tool's name.
    pub tool: String,
    /// How it ended.
    pub outcome: String,
    /// The id of a call, approval, grant or change.
    pub id: String,
    /// Not before: `YYYY-MM-DD` or `YYYY-MM-DDThh:mm`, UTC.
    pub from: String,
    /// Before: the same.
    pub until: String,
    /// Where to go on, as the page before said it.
    pub before: String,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    /// The newest first.
    pub rows: Vec<AuditRow>,
    /// Where older ones are looked for, if any can be left.
    pub older: Option<String>,
    /// How many records were read for it.
    pub read: usize,
    /// What keeps it from being whole, if something does.
    pub remark: Option<String>,
}

/// A record in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its time.
    pub at_ms: u64,
    /// Its stream.
    pub stream: String,
    /// What happened, as a word.
    pub what: String,
    /// Who.
    pub who: String,
    /// To what.
    pub about: String,
    /// Why, where that is on record.
    pub why: String,
    /// The call, where it is about one.
    pub call: Option<String>,
}

/// A call with all that is on record about it.
#[derive(Debug, Clone)]
pub struct CallView {
    /// Its id.
    pub id: String,
    /// Its trace.
    pub trace: Option<String>,
    /// How it went by, where that is remembered.
    pub picture: Option<Picture>,
    /// Its records, in order: what each is, and its fields.
    pub records: Vec<(String, Vec<FieldView>)>,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldView {
    /// Its name.
    pub name: String,
    /// Its value, as text.
    pub value: String,
}

/// How a call went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// How long it took, microseconds.
    pub total_us: u64,
    /// Its parts, in order.
    pub bars: Vec<Bar>,
}

/// One part of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// What it is called.
    pub name: String,
    /// When it began, microseconds after the call.
    pub start_us: u64,
    /// How long it took, microseconds.
    pub length_us: u64,
    /// Whether it is a call to another server.
    pub outward: bool,
    /// Whether it failed.
    pub failed: bool,
}
