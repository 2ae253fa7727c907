//! Each bound by its examples, and the algebra of them all.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::json;

use super::*;

fn bound(json: Value) -> Bound {
    serde_json::from_value(json).unwrap()
}

fn admits(bound_json: Value, argument: &Value) -> bool {
    let bound = bound(bound_json);
    assert_eq!(bound.check(), Ok(()));
    bound.admits(Some(argument))
}

#[test]
fn an_argument_must_be_given_unless_it_must_be_absent() {
    assert!(!bound(json!({"eq": 1})).admits(None));
    assert!(bound(json!({"absent": true})).admits(None));
    assert_eq!(bound(json!({"absent": true})).check(), Ok(()));
    assert!(!bound(json!({"absent": true})).admits(Some(&Value::Null)));
}

#[test]
fn equality_is_of_the_written_value() {
    assert!(admits(json!({"eq": "support"}), &json!("support")));
    assert!(!admits(json!({"eq": "support"}), &json!("Support")));
    let one: Value = serde_json::from_str("1.0").unwrap();
    assert!(!admits(json!({"eq": 1}), &one));
    assert!(admits(json!({"eq": null}), &Value::Null) && !admits(json!({"eq": null, "len_max": 9}), &json!("a")));
    assert!(admits(json!({"in": ["a", "b"]}), &json!("b")));
    assert!(!admits(json!({"in": ["a", "b"]}), &json!("c")));
}

#[test]
fn ranges_take_plain_integers_only() {
    let range = json!({"int_range": {"min": -1, "max": 5}});
    for (text, inside) in
        [("-1", true), ("5", true), ("6", false), ("-2", false), ("1.0", false), ("1e0", false), ("\"1\"", false)]
    {
        assert_eq!(admits(range.clone(), &serde_json::from_str(text).unwrap()), inside, "{text}");
    }
    assert!(!admits(json!({"int_range": {"min": 0}}), &serde_json::from_str("9223372036854775808").unwrap()));
    assert!(admits(json!({"int_range": {"max": 0}}), &json!(i64::MIN)));
}

#[test]
fn paths_are_judged_as_plain_text() {
    let under = json!({"path_under": "/srv/data"});
    for (path, inside) in [
        ("/srv/data", true),
        ("/srv/data/a.txt", true),
        ("/srv/database", false),
        ("/srv/data/../etc", false),
        ("/srv/data/./a", false),
        ("/srv/data//a", false),
        ("/srv/data/%2e%2e/a", false),
        ("/srv/data/..\\a", false),
        ("/srv/data/\u{0}", false),
        ("srv/data", false),
        ("/", false),
    ] {
        assert_eq!(admits(under.clone(), &json!(path)), inside, "{path}");
    }
    assert!(admits(json!({"path_under": "/"}), &json!("/etc")));
    assert!(!admits(under, &json!(7)));
}

#[test]
fn uris_are_judged_as_plain_text() {
    for (root, uri, inside) in [
        ("file:///srv/data", "file:///srv/data", true),
        ("file:///srv/data/", "file:///srv/data/a.txt", true),
        ("file:///srv/data", "file:///srv/database", false),
        ("file:///srv/data", "file:///srv/data/../etc", false),
        ("file:///srv/data", "file:///srv/data/%2e%2e/etc", false),
        ("file:///srv/data", "file:///srv/data//a", false),
        ("file:///srv/data", "file:///srv/data/a?b", false),
        ("file:///srv/data", "file:///srv/data/a#b", false),
        ("file:///srv/data", "file:///srv/data\\..\\a", false),
        ("file:///srv/data", "file://host/srv/data/a", false),
        ("file:///srv/data", "FILE:///srv/data/a", false),
        ("file:///srv/data", "/srv/data/a", false),
        ("test://static", "test://static", true),
        ("test://static", "test://static/a", true),
        ("test://static", "test://static@evil/a", false),
        ("test://static", "test://static.evil", false),
        ("file:///", "file:///etc", true),
    ] {
        assert_eq!(admits(json!({"uri_under": root}), &json!(uri)), inside, "{uri}");
    }
    assert!(!admits(json!({"uri_under": "file:///a"}), &json!(7)));
    for root in ["", "/srv", "file:/srv", "file:///srv/../x", "file:///a b", "1x://a", "mailto:a@b"] {
        let bound: Bound = serde_json::from_value(json!({"uri_under": root})).unwrap();
        assert!(bound.check().is_err(), "{root}");
    }
}

#[test]
fn hosts_and_domains() {
    let hosts = json!({"host_in": ["api.example.com"]});
    for (url, inside) in [
        ("https://api.example.com/x", true),
        ("https://API.example.com:8443/x", true),
        ("https://api.example.com.evil.net/", false),
        ("https://api.example.com@evil.net/", false),
        ("https://user@api.example.com/", false),
        ("https://:secret@api.example.com/", false),
        ("ftp://api.example.com/", false),
        ("api.example.com", false),
        ("https://api.example.com", true),
        ("https://api.example.com?x", true),
        ("https://api.example.com#x", true),
        ("https://api.example.com:/x", true),
        // What other parsers read in another way.
        ("https://api.example.com\\@evil.net/", false),
        ("https://@api.example.com/", false),
        ("https:api.example.com/x", false),
        ("https:///api.example.com/x", false),
        ("https:\\\\api.example.com/x", false),
        ("https://api.exa\tmple.com/", false),
        (" https://api.example.com/", false),
        ("https://api.example.com/a b", false),
        ("https://api%2Eexample.com/", false),
        ("https://api.example.com:80@evil.net/", false),
        ("https://api\u{3002}example.com/", false),
        ("https://api.example.com./", false),
        ("x:https://api.example.com/", false),
    ] {
        assert_eq!(admits(hosts.clone(), &json!(url)), inside, "{url}");
    }
    assert!(admits(json!({"host_in": ["127.0.0.1"]}), &json!("http://127.0.0.1:80/")));
    assert!(!admits(json!({"host_in": ["127.0.0.1"]}), &json!("http://0x7f.1/")));
    assert!(admits(json!({"host_in": ["[::1]"]}), &json!("http://[::1]:80/")));
    assert!(admits(json!({"host_in": ["[2001:db8::1:2]"]}), &json!("http://[2001:db8::1:2]/")));
    assert!(!admits(json!({"host_in": ["a.example"]}), &json!("http://a.example:1\u{1}/")));
    assert!(!admits(hosts, &json!(7)));
    let domains = json!({"domain_in": ["Example.com"]});
    for (given, inside) in [
        ("a@example.com", true),
        ("a@mail.EXAMPLE.com", true),
        ("a@badexample.com", false),
        ("a@example.com,b@evil.net", false),
        ("a@example.com@evil.net", false),
        ("@example.com", false),
        ("https://x.example.com/", true),
        ("https://example.com.evil.net/", false),
        ("example.com", false),
        ("a b@example.com", false),
        ("a@", false),
        ("<a@example.com>", false),
        ("a.b_c+d-e@example.com", true),
    ] {
        assert_eq!(admits(domains.clone(), &json!(given)), inside, "{given}");
    }
}

#[test]
fn lengths_count_characters_and_items() {
    assert!(admits(json!({"len_max": 2}), &json!("äö")));
    assert!(!admits(json!({"len_max": 2}), &json!("abc")));
    assert!(!admits(json!({"len_max": 1}), &json!([1, 2])));
    assert!(admits(json!({"len_max": 1}), &json!([1])) && admits(json!({"len_max": 2}), &json!("ab")));
    assert!(!admits(json!({"len_max": 1}), &json!({})));
}

#[test]
fn a_bound_that_means_nothing_is_refused() {
    assert_eq!(bound(json!({})).check(), Err(BoundFault::Empty));
    assert_eq!(bound(json!({"in": []})).check(), Err(BoundFault::EmptyList("in")));
    assert_eq!(bound(json!({"host_in": []})).check(), Err(BoundFault::EmptyList("host_in")));
    assert_eq!(bound(json!({"domain_in": []})).check(), Err(BoundFault::EmptyList("domain_in")));
    assert_eq!(bound(json!({"absent": true, "eq": 1})).check(), Err(BoundFault::AbsentAndMore));
    assert_eq!(bound(json!({"int_range": {"min": 2, "max": 1}})).check(), Err(BoundFault::Range { min: 2, max: 1 }));
    assert_eq!(bound(json!({"path_under": "/a/../b"})).check(), Err(BoundFault::Path("/a/../b".to_owned())));
    assert!(serde_json::from_value::<Bound>(json!({"prefix": "/srv"})).is_err());
}

#[test]
fn every_bound_says_what_it_wants() {
    assert_eq!(bound(json!({"eq": "support"})).describe(), "\"support\"");
    assert_eq!(bound(json!({"in": [1, 2], "len_max": 3})).describe(), "one of 1, 2, at most 3 long");
    assert_eq!(bound(json!({"int_range": {"max": 5}})).describe(), "an integer of at most 5");
    assert_eq!(bound(json!({"absent": true})).describe(), "left out");
    assert_eq!(bound(json!({"int_range": {"min": 1, "max": 5}})).describe(), "an integer from 1 to 5");
    assert_eq!(bound(json!({"int_range": {"min": 1}})).describe(), "an integer of at least 1");
    assert_eq!(bound(json!({"int_range": {}})).describe(), "an integer");
    assert_eq!(bound(json!({"path_under": "/a"})).describe(), "a plain absolute path under /a");
    assert_eq!(bound(json!({"host_in": ["a", "b"]})).describe(), "a URL at a or b");
    assert_eq!(bound(json!({"domain_in": ["a"]})).describe(), "at or below a");
}

#[test]
fn a_range_may_hold_one_number() {
    assert_eq!(bound(json!({"int_range": {"min": 2, "max": 2}})).check(), Ok(()));
    assert_eq!(bound(json!({"int_range": {}})).check(), Ok(()));
}

fn value() -> impl Strategy<Value = Value> {
    let text =
        prop::sample::select(vec!["a", "b", "/a", "/a/b", "/a/../b", "x@a.example", "https://a.example/", "https://b.example/"]);
    prop_oneof![
        any::<i8>().prop_map(|number| json!(number)),
        text.prop_map(|text| json!(text)),
        prop::collection::vec(any::<bool>(), 0..3).prop_map(|items| json!(items)),
        prop::sample::select(vec!["1.0", "1e0", "null", "{}"]).prop_map(|text| serde_json::from_str(text).unwrap()),
    ]
}

fn bounds() -> impl Strategy<Value = Bound> {
    let values = || prop::option::of(prop::collection::vec(value(), 1..4));
    let range = prop::option::of(any::<(Option<i64>, Option<i64>)>().prop_map(|(min, max)| IntRange { min, max }));
    let root = prop::option::of(prop::sample::select(vec!["/", "/a", "/a/b"]).prop_map(str::to_owned));
    let hosts = || prop::option::of(Just(vec!["a.example".to_owned()]));
    let place = prop::option::of(prop::sample::select(vec!["a:///", "a://b/c"]).prop_map(str::to_owned));
    let length = prop::option::of(0..9_usize);
    (prop::option::of(value()), values(), range, root, place, hosts(), hosts(), length, any::<bool>()).prop_map(
        |(eq, one_of, int_range, path_under, uri_under, host_in, domain_in, len_max, absent)| Bound {
            eq,
            one_of,
            int_range,
            path_under,
            uri_under,
            host_in,
            domain_in,
            len_max,
            absent,
        },
    )
}

#[test]
fn what_begins_outside_could_not_be_inside() {
    let under = |root: &str| Bound { uri_under: Some(root.to_owned()), ..Bound::default() };
    for (beginning, could) in [
        ("", true),
        ("docs:", true),
        ("docs:///pub", true),
        ("docs:///public", true),
        ("docs:///public/", true),
        ("docs:///public/.", true),
        ("docs:///public/a/b", true),
        ("docs:///publicity", false),
        ("docs:///public/../", false),
        ("docs:///public/%2e/", false),
        ("docs:///hidden/", false),
        ("docs://host/public/", false),
        ("x", false),
    ] {
        assert_eq!(under("docs:///public").could_admit_text(beginning), could, "{beginning}");
    }
    let path = Bound { path_under: Some("/".to_owned()), ..Bound::default() };
    assert!(path.could_admit_text("/x") && path.could_admit_text("/x/y") && !path.could_admit_text("x"));
    let host = Bound { host_in: Some(vec!["a.example".to_owned()]), ..Bound::default() };
    for (beginning, could) in [
        ("https://", true),
        ("https://a.ex", true),
        ("https://a.example/", true),
        ("https://b.example/", false),
        ("https://a.example@b/", false),
    ] {
        assert_eq!(host.could_admit_text(beginning), could, "{beginning}");
    }
}

proptest! {
    /// Whatever is inside could be, however little of it is known.
    #[test]
    fn what_is_inside_could_be_from_its_beginning_on(
        bound in bounds(),
        text in "(a://b/c(/[.a-c]{1,2}){0,2}/?|a:///[a-c.]{0,2}|(/[.a-b]{1,2}){0,3}|https?://a\\.example(:80)?/[a-c]{0,2})",
        length in 0..30_usize,
    ) {
        let beginning: String = text.chars().take(length).collect();
        prop_assert!(!bound.admits(Some(&text.clone().into())) || bound.could_admit_text(&beginning));
    }

    /// A bound is the conjunction of its parts: what it admits, each part alone admits, and the other way round.
    #[test]
    fn a_bound_is_all_of_its_parts(whole in bounds(), value in value()) {
        let whole = Bound { absent: false, ..whole };
        let parts = [
            Bound { eq: whole.eq.clone(), ..Bound::default() },
            Bound { one_of: whole.one_of.clone(), ..Bound::default() },
            Bound { int_range: whole.int_range, ..Bound::default() },
            Bound { path_under: whole.path_under.clone(), ..Bound::default() },
            Bound { uri_under: whole.uri_under.clone(), ..Bound::default() },
            Bound { host_in: whole.host_in.clone(), ..Bound::default() },
            Bound { domain_in: whole.domain_in.clone(), ..Bound::default() },
            Bound { len_max: whole.len_max, ..Bound::default() },
        ];
        prop_assert_eq!(whole.admits(Some(&value)), parts.iter().all(|part| part.admits(Some(&value))));
        prop_assert!(!whole.admits(None));
    }

    #[test]
    fn what_must_be_absent_admits_nothing_else(bound in bounds(), value in value()) {
        let bound = Bound { absent: true, ..bound };
        prop_assert!(!bound.admits(Some(&value)) && bound.admits(None));
    }

    /// Under a deeper root is under every root above it.
    #[test]
    fn paths_narrow(root in "(/[a-c]{1,2}){0,3}", deeper in "(/[a-c]{1,2}){1,2}", rest in "(/[a-c.%]{0,2}){0,3}") {
        let (upper, lower) = (if root.is_empty() { "/" } else { &root }, format!("{root}{deeper}"));
        let path = format!("{lower}{rest}");
        prop_assert!(!is_under(&lower, &path) || is_under(upper, &path));
        prop_assert!(is_under(upper, &lower) && !is_under(&lower, upper));
    }

    #[test]
    fn a_bound_survives_being_stored(bound in bounds()) {
        let stored = serde_json::to_string(&bound).unwrap();
        prop_assert_eq!(serde_json::from_str::<Bound>(&stored).unwrap(), bound);
    }
}
