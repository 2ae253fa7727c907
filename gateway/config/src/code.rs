//! The codes of faults: stable, so that they can be looked up, linted for and tested.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// What kind of fault it is. The code doesn't change when the wording does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum FaultCode {
            $($(#[$doc])* $name),*
        }

        impl FaultCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as text, such as `config::unknown_key`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("config::", $text)),*
                }
            }
        }
    };
}

codes! {
    /// The file is not TOML.
    Syntax = "syntax",
    /// A key that means nothing.
    UnknownKey = "unknown_key",
    /// A key that has to be there.
    MissingKey = "missing_key",
    /// A list where a number should be, and the like.
    WrongType = "wrong_type",
    /// Not one of the few words that a key takes.
    UnknownWord = "unknown_word",
    /// A number, duration or size that is too small or too large.
    OutOfRange = "out_of_range",
    /// Not a duration with a unit.
    BadDuration = "bad_duration",
    /// Not a size with a unit.
    BadSize = "bad_size",
    /// Not an address with a port, or not a network.
    BadAddress = "bad_address",
    /// Not a URL, host or origin of the form that a key takes.
    BadUrl = "bad_url",
    /// A server that would be spoken to in the clear.
    PlainHttp = "plain_http",
    /// Not an id or name of the alphabet that a key takes.
    BadName = "bad_name",
    /// An empty text, or one with control characters.
    BadText = "bad_text",
    /// An empty list where a list of what is allowed should be.
    EmptyList = "empty_list",
    /// The same thing twice.
    Duplicate = "duplicate",
    /// Two settings that can't both be.
    Conflict = "conflict",
    /// A listener that others can reach.
    RemoteListener = "remote_listener",
    /// A value from the environment for something that only the file may say.
    NotFromEnvironment = "not_from_environment",
    /// An agent that isn't registered.
    UnknownAgent = "unknown_agent",
    /// A group of agents that isn't declared.
    UnknownGroup = "unknown_group",
    /// A team that isn't declared.
    UnknownTeam = "unknown_team",
    /// A trust domain that isn't registered.
    UnknownTrustDomain = "unknown_trust_domain",
    /// An issuer that isn't registered.
    UnknownIssuer = "unknown_issuer",
    /// Not a subject, or a pattern of subjects, of its issuer.
    BadSubject = "bad_subject",
    /// A connector that isn't registered.
    UnknownConnector = "unknown_connector",
    /// A tool that its connector doesn't have.
    UnknownTool = "unknown_tool",
    /// Not a tool pattern.
    BadPattern = "bad_pattern",
    /// Not a JSON pointer.
    BadPointer = "bad_pointer",
    /// A bound that bounds nothing, or allows nothing.
    BadBound = "bad_bound",
    /// Bounds for a tool that the grant doesn't name.
    BoundWithoutTool = "bound_without_tool",
    /// A pattern that would allow without bounds what another bounds.
    LiftedBound = "lifted_bound",
    /// A band above the one it may reach at most.
    CeilingExceeded = "ceiling_exceeded",
    /// A second default grant of one agent.
    SecondDefault = "second_default",
    /// A command that is no absolute path.
    RelativeCommand = "relative_command",
    /// A command that has a shell interpret text.
    ShellCommand = "shell_command",
    /// A variable that would change which code a connector runs.
    DangerousVariable = "dangerous_variable",
    /// A secret written into the file.
    InlineSecret = "inline_secret",
    /// A shared connector with a credential, which belongs to one grant.
    SharedCredential = "shared_credential",
    /// A placeholder that only the embedded configuration may use.
    EmbeddedOnly = "embedded_only",
    /// No policy at all, so that everything would be refused.
    NoPolicy = "no_policy",
    /// Something that the configuration names isn't there, or isn't fit for use.
    NotFound = "not_found",
    /// What was written passed every check and still can't be read: a mistake of ours.
    Unreadable = "unreadable",
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
