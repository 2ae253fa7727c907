//! What is written, the one fault it has, and what of its code, message, help or suggestion must be seen.

use crate::FaultCode as Code;

pub(super) type Case = (&'static str, Code, &'static str);

/// Whole files.
pub(super) const FILES: &[Case] = &[
    ("[server\n", Code::Syntax, "this is not TOML"),
    (
        "[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"",
        Code::Syntax,
        "duplicate key",
    ),
    (
        "[server]\nlisen = \"127.0.0.1:1\"",
        Code::UnknownKey,
        "listen",
    ),
    ("[sever]\n", Code::UnknownKey, "server"),
    ("colour = 1", Code::UnknownKey, "unknown key `colour`"),
    (
        "[server]\nmax_connections = \"many\"",
        Code::WrongType,
        "must be a whole number, and this is `\"many\"`",
    ),
    ("[server]\nmax_connections = 1.5", Code::WrongType, "1.5"),
    (
        "[server]\nheader_timeout = 10",
        Code::WrongType,
        "must be a duration in quotes, and this is `10`",
    ),
    (
        "[server]\nallow_remote = \"yes\"",
        Code::WrongType,
        "`true` or `false`",
    ),
    ("[server]\nlisten = 2026-11-30", Code::WrongType, "a date"),
    ("server = 5", Code::WrongType, "must be a table"),
    ("agents = 5", Code::WrongType, "must be a list"),
    ("agents = [5]", Code::WrongType, "must be a table"),
    ("[telemetry]\nratio = nan", Code::WrongType, "ratio"),
    (
        "[server]\nmax_connections = 0",
        Code::OutOfRange,
        "from 1 to 1000000",
    ),
    ("[server]\nmax_connections = -1", Code::OutOfRange, "`-1`"),
    ("[telemetry]\nratio = 1.5", Code::OutOfRange, "from 0 to 1"),
    (
        "[server]\nidle_timeout = \"0s\"",
        Code::OutOfRange,
        "more than `0s`",
    ),
    (
        "[server]\nmax_body = \"1B\"",
        Code::OutOfRange,
        "from `1KiB` to `1GiB`",
    ),
    (
        "[limits]\nmax_result = \"2GiB\"",
        Code::OutOfRange,
        "max_result",
    ),
    (
        "[trail]\nsegment_size = \"1KiB\"",
        Code::OutOfRange,
        "segment_size",
    ),
    (
        "[approvals]\nhold = \"45\"",
        Code::BadDuration,
        "with a unit",
    ),
    (
        "[server]\nmax_body = \"4MB\"",
        Code::BadSize,
        "`4MB` is not a size",
    ),
    (
        "[server]\nlisten = \"localhost:8931\"",
        Code::BadAddress,
        "127.0.0.1:8931",
    ),
    (
        "[server]\npublic_url = \"gateway.example.com\"",
        Code::BadUrl,
        "MCP endpoint",
    ),
    (
        "[server]\npublic_url = \"https://u:p@gateway.example.com/mcp\"",
        Code::BadUrl,
        "no user",
    ),
    (
        "[server]\nallowed_hosts = [\"*\"]",
        Code::BadUrl,
        "is not a host",
    ),
    (
        "[server]\nallowed_origins = [\"null\"]",
        Code::BadUrl,
        "is not an origin",
    ),
    (
        "[server]\nallowed_origins = [\"https://a.example/x\"]",
        Code::BadUrl,
        "no path",
    ),
    (
        "[telemetry]\nendpoint = \"127.0.0.1:4318\"",
        Code::BadUrl,
        "collector",
    ),
    (
        "[telemetry]\nservice_name = \"\"",
        Code::BadText,
        "is empty",
    ),
    (
        "[server]\nlisten = \"0.0.0.0:8931\"",
        Code::RemoteListener,
        "allow_remote = true",
    ),
    (
        "[server]\nconsole = \"[::]:8932\"",
        Code::RemoteListener,
        "no TLS yet",
    ),
    (
        "[server]\npublic_url = \"http://gateway.example.com/mcp\"",
        Code::RemoteListener,
        "without TLS",
    ),
    (
        "[server]\nconsole = \"127.0.0.1:8931\"",
        Code::Conflict,
        "its own port",
    ),
    (
        "[approvals]\nhold = \"20m\"",
        Code::Conflict,
        "`hold` at most",
    ),
    (
        "[policy]\ninclude_default = false",
        Code::NoPolicy,
        "every call would be refused",
    ),
    ("[policy]\nfiles = []", Code::EmptyList, "allows nothing"),
    (
        "[policy]\nfiles = [\"policies/**\"]",
        Code::BadName,
        "names no policy file",
    ),
    (
        "[policy]\nfiles = [\"a.cedar\", \"a.cedar\"]",
        Code::Duplicate,
        "named twice",
    ),
    (
        "[[agents]]\nid = \"bot\"",
        Code::MissingKey,
        "`owner` is missing",
    ),
    (
        "[[agents]]\nid = \"Bot\"\nowner = \"o\"",
        Code::BadName,
        "`Bot` is not a valid agent id",
    ),
    (
        "[[agents]]\nid = \"bot\"\nowner = \" \"",
        Code::BadText,
        "`owner` is empty",
    ),
    (
        "[[agents]]\nid = \"bot\"\nowner = \"o\"\nceiling = \"hihg\"",
        Code::UnknownWord,
        "high",
    ),
    (
        "[[agents]]\nid = \"bot\"\nowner = \"o\"\nidentity = []",
        Code::EmptyList,
        "identity",
    ),
    (
        "[[agents]]\nid = \"bot\"\nowner = \"o\"\nidentity = [{ uid = 1 }, { uid = 1 }]",
        Code::Duplicate,
        "`1`",
    ),
    (
        "[[agents]]\nid = \"bot\"\nowner = \"o\"\nidentity = [{ issuer = \"corp\" }]",
        Code::NotSupportedYet,
        "`issuer`",
    ),
    (
        "[[agents]]\nid = \"a\"\nowner = \"o\"\n[[agents]]\nid = \"a\"\nowner = \"o\"",
        Code::Duplicate,
        "used twice",
    ),
    (
        "[[connectors]]\nid = \"t\"\nurl = \"https://t.example\"",
        Code::NotSupportedYet,
        "over HTTP",
    ),
    (
        "[[connectors]]\nid = \"t_1\"\ncommand = [\"/bin/t\"]",
        Code::BadName,
        "1 to 32",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = []",
        Code::EmptyList,
        "command",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = \"/bin/t --x\"",
        Code::WrongType,
        "without a shell",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"npx\", \"x\"]",
        Code::RelativeCommand,
        "`command -v npx`",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"./server\"]",
        Code::RelativeCommand,
        "absolute path",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"/usr/bin/env\", \"node\"]",
        Code::RelativeCommand,
        "in `PATH`",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"/bin/sh\", \"-c\", \"curl x | sh\"]",
        Code::ShellCommand,
        "a script",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"/bin/busybox\", \"sh\", \"-c\", \"x\"]",
        Code::ShellCommand,
        "a script",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"/bin/t\", 5]",
        Code::WrongType,
        "an item of `command` must be a text",
    ),
    (
        "[[connectors]]\nurl = \"https://t.example\"\ncommand = [\"/bin/t\"]\nid = \"t\"",
        Code::NotSupportedYet,
        "`url`",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"/bin/bash\", \"-l\", \"-ec\", \"x\"]",
        Code::ShellCommand,
        "`/bin/bash`",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"/bin/t\", \"\\u0000\"]",
        Code::BadText,
        "NUL",
    ),
    (
        "[[connectors]]\nid = \"t\"\ncommand = [\"@self\"]",
        Code::EmbeddedOnly,
        "`@self`",
    ),
];

/// Lines of a connector.
pub(super) const CONNECTORS: &[Case] = &[
    (
        "env = { LD_PRELOAD = \"/x.so\" }",
        Code::DangerousVariable,
        "`LD_PRELOAD`",
    ),
    (
        "env = { NODE_OPTIONS = \"--require x\" }",
        Code::DangerousVariable,
        "which code",
    ),
    (
        "env = { API_TOKEN = \"s3cr3t\" }",
        Code::InlineSecret,
        "inject = { env = \"API_TOKEN\" }",
    ),
    ("env = { \"A=B\" = \"c\" }", Code::BadName, "`A=B`"),
    ("env = { A = 1 }", Code::WrongType, "a text in quotes"),
    ("cwd = \"work\"", Code::BadText, "absolute path of a folder"),
    ("pin = \"auto\"", Code::UnknownWord, "`first-use`"),
    (
        "sensitivity = \"secret\"",
        Code::UnknownWord,
        "`confidential`",
    ),
    ("labels = [\"trusted\"]", Code::UnknownWord, "untrusted"),
    ("call_timeout = \"0s\"", Code::OutOfRange, "call_timeout"),
    ("environment = \"\"", Code::BadText, "environment"),
    (
        "tools.get = { kin = \"read\" }",
        Code::UnknownKey,
        "unknown key `kin` in `connectors[0].tools.get`",
    ),
    ("tools.get = { kind = \"reed\" }", Code::UnknownWord, "read"),
    (
        "tools.\"a b\" = { kind = \"read\" }",
        Code::BadName,
        "`a b`",
    ),
    (
        "credential = { provider = \"openbao\", inject = { env = \"T\" } }",
        Code::UnknownWord,
        "`file`, `env`",
    ),
    (
        "credential = { provider = \"file\", inject = { env = \"T\" } }",
        Code::MissingKey,
        "`path` is missing",
    ),
    (
        "credential = { provider = \"env\", name = \"A\" }",
        Code::MissingKey,
        "`inject` is missing",
    ),
    (
        "credential = { provider = \"env\", name = \"A\", path = \"b\", inject = { env = \"T\" } }",
        Code::Conflict,
        "`path`",
    ),
    (
        "credential = { provider = \"env\", name = \"A-B\", inject = { env = \"T\" } }",
        Code::BadName,
        "`A-B`",
    ),
    (
        "credential = { provider = \"file\", path = \"t\", inject = { header = \"A\" } }",
        Code::NotSupportedYet,
        "header",
    ),
    (
        "credential = { provider = \"file\", path = \"t\", inject = { env = \"LD_PRELOAD\" } }",
        Code::DangerousVariable,
        "LD_",
    ),
    (
        "credential = { provider = \"file\", path = \"t\", inject = { env = \"T\" } }\nenv.T = \"x\"",
        Code::Conflict,
        "by `env`",
    ),
    (
        "credential = { provider = \"file\", path = \"@data/t\", inject = { env = \"T\" } }",
        Code::EmbeddedOnly,
        "`@data`",
    ),
    (
        "credential = { provider = \"file\", path = \"t\", inject = { env = \"T\" } }\nshared = true",
        Code::SharedCredential,
        "shared",
    ),
];

/// Lines of a grant.
pub(super) const GRANTS: &[Case] = &[
    ("", Code::MissingKey, "`tools` is missing"),
    ("tools = []", Code::EmptyList, "`tools` is an empty list"),
    (
        "tools = [\"tickets__get\"]\nkinds = []",
        Code::EmptyList,
        "kinds",
    ),
    (
        "tools = [\"tickets__get\"]\nkinds = [\"reads\"]",
        Code::UnknownWord,
        "read",
    ),
    (
        "tools = [\"tickets__get\", \"tickets__get\"]",
        Code::Duplicate,
        "named twice",
    ),
    (
        "tools = [\"tickets__ge*\"]",
        Code::BadPattern,
        "connector__*",
    ),
    (
        "tools = [\"get\"]",
        Code::BadPattern,
        "is not a tool pattern",
    ),
    (
        "tools = [\"ticket__get\"]",
        Code::UnknownConnector,
        "tickets__get",
    ),
    (
        "tools = [\"shop__*\"]",
        Code::UnknownConnector,
        "the connectors are `tickets`",
    ),
    (
        "tools = [\"tickets__get\"]\nttl = \"31d\"",
        Code::OutOfRange,
        "at most `30d`",
    ),
    (
        "tools = [\"tickets__get\"]\nttl = \"0s\"",
        Code::OutOfRange,
        "ttl",
    ),
    (
        "tools = [\"tickets__get\"]\nceiling = \"critical\"",
        Code::CeilingExceeded,
        "`critical` is above",
    ),
    (
        "tools = [\"tickets__get\"]\nbudget = { calls = 0 }",
        Code::OutOfRange,
        "calls",
    ),
    (
        "tools = [\"tickets__get\"]\nbudget = { call = 1 }",
        Code::UnknownKey,
        "calls",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__got.\"/x\".eq = 1",
        Code::BoundWithoutTool,
        "tickets__get",
    ),
    (
        "tools = [\"tickets__*\"]\nargs.tickets__get.\"/x\".eq = 1",
        Code::LiftedBound,
        "`tickets__*` would lift the bound on `tickets__get`",
    ),
    (
        "tools = [\"tickets__get\", \"tickets__*\"]\nargs.tickets__get.\"/x\".eq = 1",
        Code::LiftedBound,
        "without the wildcard",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.\"tickets__*\".\"/x\".eq = 1",
        Code::BadName,
        "one tool each",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get = {}",
        Code::BadBound,
        "no bounds",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\" = {}",
        Code::BadBound,
        "the bound is empty",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\".in = []",
        Code::EmptyList,
        "`in`",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\".int_range = { min = 2, max = 1 }",
        Code::BadBound,
        "2..=1",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\".path_under = \"srv\"",
        Code::BadBound,
        "`srv`",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\" = { absent = true, eq = 1 }",
        Code::BadBound,
        "`absent`",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\".equals = 1",
        Code::UnknownKey,
        "equals",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\".eq = inf",
        Code::WrongType,
        "`inf`",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\".eq = 2026-11-30",
        Code::WrongType,
        "a date",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/x\".in = [1, inf]",
        Code::WrongType,
        "`inf`",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.project.eq = 1",
        Code::BadPointer,
        "/project",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"\".absent = true",
        Code::BadPointer,
        "begin with `/`",
    ),
    (
        "tools = [\"tickets__get\"]\nargs.tickets__get.\"/a~2\".eq = 1",
        Code::BadPointer,
        "~0",
    ),
    (
        "tools = [\"tickets__get\"]\n[[grants]]\nid = \"h\"\nagent = \"bto\"\npurpose = \"p\"\ntools = [\"tickets__get\"]",
        Code::UnknownAgent,
        "bot",
    ),
    (
        "tools = [\"tickets__get\"]\n[[grants]]\nid = \"g\"\nagent = \"bot\"\npurpose = \"p\"\ntools = [\"tickets__get\"]",
        Code::Duplicate,
        "grant id `g`",
    ),
    (
        "tools = [\"tickets__get\"]\ndefault = true\n[[grants]]\nid = \"h\"\nagent = \"bot\"\npurpose = \"p\"\ntools = [\"tickets__get\"]\ndefault = true",
        Code::SecondDefault,
        "a default grant already",
    ),
];
