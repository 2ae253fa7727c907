//! Which variables a connector may be given.

/// Variables that change which code a program runs, and so are refused: loaders, interpreters, shells.
const DANGEROUS: [&str; 32] = [
    "BASHOPTS",
    "BASH_ENV",
    "CLASSPATH",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GIT_EXEC_PATH",
    "GIT_SSH_COMMAND",
    "GLIBC_TUNABLES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LUA_INIT",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "SHELLOPTS",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

/// How the names of further such variables begin: those of the dynamic linkers.
const DANGEROUS_PREFIXES: [&str; 3] = ["LD_", "DYLD_", "BASH_FUNC_"];

/// The parts of names that say that the value is a secret.
const SECRET: [&str; 14] = [
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "KEY",
    "KEYS",
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "BEARER",
    "PAT",
];

/// The ends of names that say that the value only says where something is.
const POINTERS: [&str; 4] = ["FILE", "PATH", "DIR", "URL"];

/// Whether it is a name that a variable can have everywhere (POSIX, 8.1).
pub(super) fn is_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_inner)
}

/// Whether a value of this variable would change which code runs.
pub(super) fn is_dangerous(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    DANGEROUS.contains(&name.as_str()) || DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the name says that the value is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_pointer = name.rsplit('_').next().is_some_and(|last| POINTERS.contains(&last));
    !is_pointer && name.split('_').any(|part| SECRET.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::{DANGEROUS, is_dangerous, is_name, is_secret};

    #[test]
    fn variables_that_change_what_runs_are_dangerous() {
        for name in
            ["LD_PRELOAD", "ld_preload", "LD_LIBRARY_PATH", "LD_AUDIT", "NODE_OPTIONS", "PYTHONPATH", "BASH_ENV", "RUBYOPT"]
        {
            assert!(is_dangerous(name), "{name}");
        }
        for name in ["PATH", "HOME", "LANG", "TZ", "NODE_ENV", "OLD_STYLE"] {
            assert!(!is_dangerous(name), "{name}");
        }
        assert!(DANGEROUS.is_sorted());
    }

    #[test]
    fn a_secret_is_known_by_its_name() {
        for name in ["TOKEN", "GITHUB_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "api_key", "OPENAI_APIKEY"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["KEYBOARD", "MONKEY", "TOKENIZER", "TOKEN_FILE", "SSH_KEY_PATH", "PWD", "LANG"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn names_are_of_the_portable_alphabet() {
        assert!(is_name("_A1"));
        for bad in ["", "1A", "A-B", "A=B", "Ä", "A B"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
