//! Faults of issuers of credentials, and of what of theirs a connector is lent.

use super::cases::Case;
use crate::FaultCode as Code;

/// What is wrong with an issuer of credentials: what stands in `[[providers]]` after its id.
pub(super) const ISSUERS_OF_CREDENTIALS: &[Case] = &[
    ("oauth = { client_id = \"c\", client_secret_file = \"s\" }", Code::MissingKey, "where the authorization server is"),
    (
        "oauth = { issuer = \"http://login.example\", client_id = \"c\", client_secret_file = \"s\" }",
        Code::PlainHttp,
        "in the clear",
    ),
    ("oauth = { issuer = \"https://u:p@l.example\", client_id = \"c\", client_secret_file = \"s\" }", Code::BadUrl, "issuer"),
    (
        "oauth = { issuer = \"https://l.example\", token_url = \"https://l.example/t\", client_id = \"c\", client_secret_file = \"s\" }",
        Code::Conflict,
        "`token_url` and `issuer`",
    ),
    (
        "oauth = { token_url = \"https://l.example/t\", revocable = true, client_id = \"c\", client_secret_file = \"s\" }",
        Code::Conflict,
        "where tokens are taken back",
    ),
    (
        "oauth = { token_url = \"https://l.example/t\", client_id = \"c\", client_secret_file = \"s\" }",
        Code::MissingKey,
        "`revocable = false`",
    ),
    (
        "oauth = { token_url = \"https://l.example/t\", revocation_url = \"https://l.example/r\", revocable = false, client_id = \"c\", client_secret_file = \"s\" }",
        Code::Conflict,
        "nothing is taken back",
    ),
    ("oauth = { issuer = \"https://l.example\", client_secret_file = \"s\" }", Code::MissingKey, "client_id"),
    ("oauth = { issuer = \"https://l.example\", client_id = \"c\" }", Code::MissingKey, "`client_secret_file` is missing"),
    (
        "oauth = { issuer = \"https://l.example\", client_id = \"c\", auth = \"mtls\", identity = \"i\", client_secret_file = \"s\" }",
        Code::Conflict,
        "`client_secret_file` means nothing with `auth",
    ),
    (
        "oauth = { issuer = \"https://l.example\", client_id = \"c\", auth = \"none\", client_secret_file = \"s\" }",
        Code::UnknownWord,
        "`private_key_jwt`",
    ),
    (
        "oauth = { issuer = \"https://l.example\", client_id = \"c\", auth = \"private_key_jwt\", key_file = \"k\", algorithm = \"HS256\" }",
        Code::UnknownWord,
        "`PS256`",
    ),
    (
        "oauth = { issuer = \"https://l.example\", client_id = \"c\", client_secret_file = \"s\", grant = \"token_exchange\" }",
        Code::MissingKey,
        "nobody would be lent anything",
    ),
    (
        "oauth = { issuer = \"https://l.example\", client_id = \"c\", client_secret_file = \"s\", subject_tokens = { a = \"f\" } }",
        Code::Conflict,
        "`grant = \"token_exchange\"`",
    ),
    (
        "oauth = { issuer = \"https://l.example\", client_id = \"c\", client_secret_file = \"s\", max_ttl = \"1s\" }",
        Code::OutOfRange,
        "too short",
    ),
    ("github = { app = \"a\", installation = 0, key_file = \"k\" }", Code::OutOfRange, "installation"),
    ("github = { app = \"a\", installation = 1, key_file = \"\" }", Code::BadText, "no path of a file"),
    (
        "aws = { region = \"EU Central\", access_key_id = \"A\", secret_access_key_file = \"s\" }",
        Code::BadName,
        "`EU Central` is no region",
    ),
    (
        "aws = { region = \"eu-west-1\", access_key_id = \"A\", secret_access_key_file = \"s\", max_ttl = \"5m\" }",
        Code::OutOfRange,
        "`15m`",
    ),
    ("aws = { region = \"eu-west-1\", access_key_id = \"A\" }", Code::MissingKey, "secret_access_key_file"),
    (
        "aws = { region = \"eu-west-1\", access_key_id = \"A\", secret_access_key_file = \"s\" }\ngithub = { app = \"a\", installation = 1, key_file = \"k\" }",
        Code::Conflict,
        "of two kinds",
    ),
];

/// What is wrong with what a connector is lent of an issuer's, `oauth`, `github` or `aws`: the keys of `credential`.
pub(super) const LENT: &[Case] = &[
    ("provider = \"oauth\"", Code::MissingKey, "`scopes` is missing"),
    ("provider = \"oauth\", scopes = []", Code::EmptyList, "allows nothing"),
    ("provider = \"oauth\", scopes = [\"a b\"]", Code::BadText, "`a b` is no scope"),
    ("provider = \"oauth\", scopes = [\"a\"], role = \"r\"", Code::Conflict, "`role` means nothing"),
    ("provider = \"oauth\", scopes = [\"a\"], resource = \"https://r.example/#f\"", Code::BadUrl, "URL of a resource"),
    ("provider = \"oauth\", scopes = [\"a\"], bound = \"key\"", Code::UnknownWord, "`dpop`, `mtls`"),
    ("provider = \"oauth\", scopes = [\"a\"], bound = \"dpop\"", Code::Conflict, "a child process"),
    (
        "provider = \"github\", repositories = [\"a\"], permissions = { issues = \"read\" }, bound = \"dpop\"",
        Code::Conflict,
        "`bound` means nothing",
    ),
    ("provider = \"github\", repositories = [\"a\"]", Code::MissingKey, "`permissions` is missing"),
    ("provider = \"github\", repositories = [], permissions = { issues = \"read\" }", Code::EmptyList, "allows nothing"),
    ("provider = \"github\", repositories = [\"o/a\"], permissions = { issues = \"read\" }", Code::BadName, "without its owner"),
    ("provider = \"github\", repositories = [\"a\"], permissions = {}", Code::EmptyList, "could do nothing"),
    ("provider = \"github\", repositories = [\"a\"], permissions = { issues = \"all\" }", Code::UnknownWord, "`write`"),
    ("provider = \"aws\"", Code::MissingKey, "`role` is missing"),
    (
        "provider = \"aws\", role = \"arn:aws:iam::123456789012:role/r\", session_policy = \"\"",
        Code::BadText,
        "no path of a file",
    ),
    (
        "provider = \"aws\", role = \"arn:aws:iam::123456789012:role/r\", scopes = [\"a\"]",
        Code::Conflict,
        "`scopes` means nothing",
    ),
    ("provider = \"aws\", role = \"tickets\"", Code::BadText, "no ARN of a role"),
    ("provider = \"aws\", role = \"arn:aws:iam::123456789012:role/r/\"", Code::BadText, "no ARN of a role"),
    ("provider = \"aws\", role = \"arn:aws:iam::123456789012:role/r\"", Code::BadText, "no part `secret`"),
    ("provider = \"file\", path = \"p\", may_outlive = true", Code::Conflict, "`may_outlive` means nothing"),
];

/// What is wrong with where the parts of a credential are put: the provider, and what stands in `inject`.
pub(super) const PLACES: &[Case] = &[
    ("provider = \"pg\", role = \"r\", inject = { env = \"T\" }", Code::BadText, "`{dsn}`"),
    ("provider = \"pg\", role = \"r\", inject = { variables = { T = \"{username}@{host}\" } }", Code::BadText, "would get none"),
    ("provider = \"pg\", role = \"r\", inject = { files = { T = \"{dsn}{token}\" } }", Code::BadText, "no part `token`"),
    (
        "provider = \"bao\", role = \"a/b\", token_policies = [\"p\"], inject = { variables = { T = \"{username}\" } }",
        Code::BadText,
        "would get none",
    ),
    ("provider = \"file\", path = \"p\", inject = { variables = { T = \"x {password}\" } }", Code::BadText, "no part `password`"),
    ("provider = \"env\", name = \"P\", inject = { files = { T = \"{key}\" } }", Code::BadText, "no part `key`"),
];
