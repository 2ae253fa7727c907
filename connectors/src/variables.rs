//! Which environment variables a child may be given.

/// Why a name can't be an environment variable of a child.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvNameFault {
    /// Not a portable name.
    #[error("`{0}` is not the name of an environment variable: use letters, digits and `_`, no digit first")]
    Malformed(String),
    /// It makes programs load code from elsewhere.
    #[error("environment variable `{0}` makes programs load or run other code: it can't be set for a connector")]
    Dangerous(String),
}

/// Variables by which a program is made to load or run code that nobody named, or to send its traffic elsewhere.
const DANGEROUS: &[&str] = &[
    "BASH_ENV",
    "BASHOPTS",
    "CDPATH",
    "CLASSPATH",
    "COR_PROFILER",
    "CORECLR_PROFILER",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GIT_ASKPASS",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LOCALDOMAIN",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MALLOC_CHECK_",
    "NLSPATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "RES_OPTIONS",
    "RUBYLIB",
    "RUBYOPT",
    "SHELLOPTS",
    "SSLKEYLOGFILE",
    "TMPPREFIX",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

/// Whole families of them.
const DANGEROUS_PREFIXES: &[&str] = &["LD_", "DYLD_", "BASH_FUNC_", "NPM_CONFIG_", "UV_", "PIP_", "BAILIWICK_"];

/// Whether an admin may set this variable for a child.
pub fn check_env_name(name: &str) -> Result<(), EnvNameFault> {
    let shown = || name.chars().take(80).flat_map(char::escape_default).collect();
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || name.len() > 256 || !name.bytes().all(is_allowed) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(EnvNameFault::Malformed(shown()));
    }
    let upper = name.to_ascii_uppercase();
    if DANGEROUS.contains(&upper.as_str()) || DANGEROUS_PREFIXES.iter().any(|prefix| upper.starts_with(prefix)) {
        return Err(EnvNameFault::Dangerous(shown()));
    }
    Ok(())
}
