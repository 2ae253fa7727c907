//! The names of connectors and tools. Their alphabets make `connector__tool` split in exactly one way, and leave no
//! room for look-alikes: everything is ASCII, compared exactly.

use std::borrow::Borrow;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::shown;

/// Between connector and tool.
const SEPARATOR: &str = "__";
/// Between connector and feature.
const FEATURE_SEPARATOR: char = '/';

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// Not a [`ConnectorId`].
    #[error("`{0}` is not a connector id: use 1 to 32 of `a`-`z`, `0`-`9` and `-`, a letter first")]
    Connector(String),
    /// Not a [`ToolName`].
    #[error("`{0}` is not a tool name: use 1 to 128 of `A`-`Z`, `a`-`z`, `0`-`9`, `_`, `.` and `-`")]
    Tool(String),
    /// Not a [`QualifiedName`].
    #[error("`{0}` is not a qualified tool name: write `connector__tool`")]
    Qualified(String),
    /// Not a [`Feature`].
    #[error(
        "`{0}` is not a feature of a connector: write `resource_read`, `prompt_get`, `complete`, `elicitation`, `sampling` or `roots`"
    )]
    Feature(String),
}

/// The id of a connector: `[a-z][a-z0-9-]*`, at most 32 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectorId(Box<str>);

/// A tool's name as its server says it: `[A-Za-z0-9_.-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolName(Box<str>);

/// What a connector offers besides tools (MCP, "Server Features"), and what it may ask of agents ("Client Features"). Each is granted,
/// judged and recorded like a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Its resources: listed, read and watched.
    ResourceRead,
    /// Its prompts: listed and got.
    PromptGet,
    /// Its suggestions for arguments of prompts and resource templates.
    Complete,
    /// The right to ask the agent's user something while it works on a call.
    Elicitation,
    /// The right to have the agent's model complete something.
    Sampling,
    /// The right to ask which folders the agent works in.
    Roots,
}

/// The full name of what can be called: a tool, `connector__tool`, or a feature, `connector/resource_read`. Agents see it so too, unless
/// its connector is to have no prefix ([`crate::exposure`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    connector: ConnectorId,
    part: Part,
    /// Both together, which is what most want.
    text: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Tool(ToolName),
    Feature(Feature),
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::ResourceRead, Self::PromptGet, Self::Complete, Self::Elicitation, Self::Sampling, Self::Roots];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResourceRead => "resource_read",
            Self::PromptGet => "prompt_get",
            Self::Complete => "complete",
            Self::Elicitation => "elicitation",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        }
    }
}

impl ConnectorId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ToolName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl QualifiedName {
    /// The name of `tool` at `connector`.
    pub fn new(connector: ConnectorId, tool: ToolName) -> Self {
        let text = format!("{connector}{SEPARATOR}{tool}").into();
        Self { connector, part: Part::Tool(tool), text }
    }

    /// The name of `feature` of `connector`. No tool has it: `/` is in no tool's name.
    pub fn of_feature(connector: ConnectorId, feature: Feature) -> Self {
        let text = format!("{connector}{FEATURE_SEPARATOR}{feature}").into();
        Self { connector, part: Part::Feature(feature), text }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The connector that offers the tool.
    pub fn connector(&self) -> &ConnectorId {
        &self.connector
    }

    /// The tool's name at its connector; none for a feature.
    pub fn tool(&self) -> Option<&ToolName> {
        match &self.part {
            Part::Tool(tool) => Some(tool),
            Part::Feature(_) => None,
        }
    }

    /// What it is called at its connector.
    pub fn own(&self) -> &str {
        match &self.part {
            Part::Tool(tool) => tool.as_str(),
            Part::Feature(feature) => feature.as_str(),
        }
    }

    /// The feature; none for a tool.
    pub fn feature(&self) -> Option<Feature> {
        match self.part {
            Part::Tool(_) => None,
            Part::Feature(feature) => Some(feature),
        }
    }
}

impl FromStr for ConnectorId {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<Self, NameFault> {
        let is_allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_id = text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(is_allowed);
        if is_id { Ok(Self(text.into())) } else { Err(NameFault::Connector(shown(text))) }
    }
}

impl FromStr for ToolName {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<Self, NameFault> {
        let is_allowed = |b: u8| matches!(b, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
        let is_name = (1..=128).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_name { Ok(Self(text.into())) } else { Err(NameFault::Tool(shown(text))) }
    }
}

impl FromStr for QualifiedName {
    type Err = NameFault;

    /// Splits at the first `__`, or else at the first `/`: a connector id has neither, so there is no other way.
    fn from_str(text: &str) -> Result<Self, NameFault> {
        if let Some((connector, tool)) = text.split_once(SEPARATOR) {
            return Ok(Self::new(connector.parse()?, tool.parse()?));
        }
        let (connector, feature) = text.split_once(FEATURE_SEPARATOR).ok_or_else(|| NameFault::Qualified(shown(text)))?;
        Ok(Self::of_feature(connector.parse()?, feature.parse()?))
    }
}

impl FromStr for Feature {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<Self, NameFault> {
        Self::ALL.into_iter().find(|feature| feature.as_str() == text).ok_or_else(|| NameFault::Feature(shown(text)))
    }
}

impl Display for Feature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Display for ConnectorId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Display for ToolName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Display for QualifiedName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looked up by text.
macro_rules! looked_up_by_text {
    ($($name:ty),*) => {$(
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

looked_up_by_text!(ConnectorId, ToolName);

/// As text, checked when read.
macro_rules! serialized_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serialized_as_text!(ConnectorId, ToolName, QualifiedName);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::proptest;

    use super::*;

    #[test]
    fn a11_a12_only_plain_names_are_tool_names() {
        let long = "a".repeat(129);
        for name in ["m\u{430}il.send", "\u{ff4d}ail", "mail.send ", "", "a/b", "a\u{301}", "a\u{202e}b", "a\n", &long] {
            assert!(name.parse::<ToolName>().is_err(), "{name}");
        }
        for name in ["mail.send", "Mail.Send", "a", "_", "__", "-.", &"a".repeat(128)] {
            assert_eq!(name.parse::<ToolName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn connector_ids_have_no_underscore() {
        for id in ["", "a_b", "A", "1a", "-a", "a.b", "\u{e9}", &"a".repeat(33)] {
            assert!(id.parse::<ConnectorId>().is_err(), "{id}");
        }
        for id in ["a", "a-1", "tickets", &"a".repeat(32)] {
            assert_eq!(id.parse::<ConnectorId>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn names_are_checked_when_read() {
        assert!(serde_json::from_str::<QualifiedName>("\"a__b\"").is_ok());
        for text in ["\"a_b\"", "\"__b\"", "\"a__\"", "\"A__b\"", "1"] {
            assert!(serde_json::from_str::<QualifiedName>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn qualified_names_split_one_way(connector in "[a-z][a-z0-9-]{0,31}", tool in "[A-Za-z0-9_.-]{1,128}") {
            let name = QualifiedName::new(connector.parse().unwrap(), tool.parse().unwrap());
            let again: QualifiedName = name.to_string().parse().unwrap();
            assert_eq!(again.connector().as_str(), connector);
            assert_eq!(again.tool().unwrap().as_str(), tool);
            assert_eq!(again.feature(), None);
        }
    }

    #[test]
    fn features_have_names_that_no_tool_has() {
        for feature in Feature::ALL {
            let name: QualifiedName = format!("docs/{feature}").parse().unwrap();
            assert_eq!((name.feature(), name.tool()), (Some(feature), None));
            assert_eq!(name, QualifiedName::of_feature("docs".parse().unwrap(), feature));
            assert!(format!("docs__{feature}").parse::<QualifiedName>().unwrap().feature().is_none());
        }
        for text in
            ["docs/tools", "docs/", "/resource_read", "Docs/resource_read", "docs/resource_read/x", "docs/x__resource_read"]
        {
            assert!(text.parse::<QualifiedName>().is_err(), "{text}");
        }
    }
}
