//! Who somebody is, by the operating system.

use std::fs;

/// The name of a user, as `/etc/passwd` has it; `uid-N` where it has none. Users of a directory service (LDAP and such) are not
/// looked up: they are `uid-N`.
pub fn name_of(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    named_in(&passwd, uid).unwrap_or_else(|| format!("uid-{uid}"))
}

/// Whether this user is in this group, by `/etc/passwd` and `/etc/group`. What can't be read has nobody in it.
pub(super) fn is_in_group(uid: u32, group: &str) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    is_among(&read("/etc/passwd"), &read("/etc/group"), uid, group)
}

fn is_among(passwd: &str, groups: &str, uid: u32, group: &str) -> bool {
    let user = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, own, ..] = fields.as_slice() else { return None };
        (id.parse() == Ok(uid) && !name.is_empty()).then_some((*name, *own))
    });
    let Some((name, own)) = user else { return false };
    groups.lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [called, _, id, members] = fields.as_slice() else { return false };
        *called == group && (*id == own || members.split(',').any(|member| member.trim() == name))
    })
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
    use super::{is_among, named_in};

    #[test]
    fn a_group_is_its_members_and_those_whose_own_it_is() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada:/home/ada:/bin/sh\nbob:x:1001:27::/:\n:x:7:27::/:\n";
        let groups = "root:x:0:\noncall:x:27:ada, eve\nempty:x:28:\nodd:27\n";
        let is_in = |uid, group| is_among(passwd, groups, uid, group);
        assert!(is_in(1000, "oncall") && is_in(1001, "oncall") && is_in(0, "root"));
        assert!(
            !is_in(0, "oncall") && !is_in(1000, "empty") && !is_in(1000, "") && !is_in(1000, "nobody") && !is_in(1000, "odd")
        );
        assert!(!is_in(7, "oncall") && !is_in(2000, "oncall"));
    }

    #[test]
    fn a_user_is_found_by_id() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\n:x:7:7::/:\nada:x:1000:1000:Ada,,,:/home/ada:/bin/sh\n";
        assert_eq!(named_in(passwd, 1000).as_deref(), Some("ada"));
        assert_eq!(named_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(named_in(passwd, 7), None);
        assert_eq!(named_in("ada:x", 0), None);
    }
}
