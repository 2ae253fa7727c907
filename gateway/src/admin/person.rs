//! Who somebody is, by the operating system.

use std::fs;

/// The name of a user, as `/etc/passwd` has it; `uid-N` where it has none. Users of a directory service (LDAP and such) are not
/// looked up: they are `uid-N`.
pub fn name_of(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    named_in(&passwd, uid).unwrap_or_else(|| format!("uid-{uid}"))
}

fn named_in(passwd: &str, uid: u32) -> Option<String> {
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(named)
}

#[cfg(test)]
mod tests {
    use super::named_in;

    #[test]
    fn a_user_is_found_by_id() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\n:x:7:7::/:\nada:x:1000:1000:Ada,,,:/home/ada:/bin/sh\n";
        assert_eq!(named_in(passwd, 1000).as_deref(), Some("ada"));
        assert_eq!(named_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(named_in(passwd, 7), None);
        assert_eq!(named_in("ada:x", 0), None);
    }
}
