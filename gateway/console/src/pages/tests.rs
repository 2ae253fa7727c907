#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_policy::Band;
use bailiwick_schemas::text::is_invisible;

use bailiwick_schemas::canonical::Digest;

use super::*;
use crate::views::*;

/// What somebody might write to break out of any field, or to hide something in it.
const HOSTILE: &str = "\"'></textarea></title><script>alert(1)</script><img src=x onerror=alert(1)> javascript:alert(1) \u{202e}kcart\u{202c}\u{200b}&lt;\u{0}\u{e0041}";

fn h() -> String {
    HOSTILE.to_owned()
}

fn frame() -> Frame {
    let sections = Section::ALL.to_vec();
    let notices = vec![Notice { grave: true, text: h() }];
    Frame {
        who: h(),
        sections,
        may_change: true,
        may_read: true,
        reviews: 1,
        now_ms: 1_795_303_179_042,
        waiting: 3,
        notices,
        guard: Guard::default(),
        version: "0".into(),
    }
}

fn row(id: &str) -> InboxRow {
    InboxRow {
        id: id.to_owned(),
        code: "K7-42".into(),
        tool: h(),
        connector: h(),
        kind: "write".into(),
        band: Band::High,
        agent: h(),
        owner: h(),
        purpose: h(),
        asked_at_ms: 1_795_303_170_000,
        approve_by_ms: 1_795_303_779_042,
        waiting: true,
        yes: (1, 2),
        purpose_is_claimed: true,
        choosable: true,
    }
}

fn question(arguments: &str) -> ApprovalView {
    ApprovalView {
        id: "apr-1".into(),
        code: "K7-42".into(),
        state: "pending".into(),
        settled: None,
        tool: h(),
        name: h(),
        connector: h(),
        place: h(),
        kind: "write".into(),
        band: Band::Critical,
        asked: vec![Asked { rule: h(), place: Some(h()), reason: Some(h()), label: h(), quorum: 2 }],
        agent: h(),
        grant: h(),
        purpose: h(),
        purpose_is_claimed: true,
        owner: h(),
        delegators: vec![(h(), h())],
        flow: Some(h()),
        asked_at_ms: 1_795_303_170_000,
        approve_by_ms: 1_795_303_779_042,
        waiting: false,
        arguments: Arguments::Kept { text: arguments.to_owned(), masked: BTreeSet::new() },
        args_digest: "sha256:00".into(),
        binding_digest: "sha256:11".into(),
        earlier: Some(Earlier {
            code: "A1-11".into(),
            by: h(),
            at_ms: 1,
            text: format!("{{\"old\":{}}}", serde_json::json!(h())),
        }),
        likewise: Some(Likewise {
            id: "apr-0".into(),
            code: "A1-12".into(),
            state: "succeeded".into(),
            at_ms: 7,
            run: Some(Run { outcome: h(), why: Some(h()), call: Some("c1".into()), at_ms: 8 }),
        }),
        definition: Some(Definition {
            text: serde_json::json!({"name": "x", "description": h()}).to_string(),
            digest: "sha256:22".into(),
            accepted_by: h(),
            accepted_at_ms: 5,
            drifted: false,
            same: true,
        }),
        claim: Some(h()),
        ahead: vec![Ahead { call: "c1".into(), tool: h(), outcome: h(), at_ms: 4, trace: "ab".into() }],
        said: vec![Said {
            by: h(),
            how: h(),
            yes: true,
            at_ms: 3,
            reason: Some(h()),
            view: Some("sha256:33".into()),
            batch: Some((2, "sha256:44".into())),
        }],
        quorum: 2,
        siblings: 2,
        broken: Some(Broken { by: h(), at_ms: 4, reason: Some(h()), reviewed: Some((h(), 5, Some(h()))) }),
        choices: Choices { barred: None, no_yes: None, type_code: true, for_task: Some(vec![Fact::new(h(), h())]) },
    }
}

fn hostile_arguments() -> String {
    serde_json::json!({h(): h(), "list": [h(), {"deep": h()}]}).to_string()
}

/// Every page, with something hostile in every field.
#[expect(clippy::too_many_lines, reason = "each page once, with all that it shows")]
fn all_pages() -> BTreeMap<&'static str, String> {
    let frame = frame();
    let settled = ApprovalView {
        state: "denied".into(),
        settled: Some(Settled { what: h(), at_ms: Some(1), why: Some(h()) }),
        ..question("{}")
    };
    let barred = ApprovalView {
        choices: Choices { barred: Some(h()), ..Choices::default() },
        arguments: Arguments::Unreadable(h()),
        definition: None,
        ..question("{}")
    };
    let spent = vec![Spent { name: h(), used: 3, limit: Some(10) }, Spent { name: h(), used: 3, limit: None }];
    let grant_row = GrantRow {
        id: "g-1".into(),
        state: "active".into(),
        agent: h(),
        owner: h(),
        purpose: h(),
        ceiling: Band::High,
        chain: vec!["g-0".into()],
        budget: spent,
        expires_at_ms: 1_795_303_279_042,
        last_used_ms: None,
        tools: 3,
    };
    let grant_view = GrantView {
        row: grant_row.clone(),
        tools: vec![(h(), false)],
        terms: vec![Fact::new(h(), h())],
        bounds: vec![Fact::new(h(), h())],
        below: vec!["g-2".into()],
    };
    let agent = AgentRow {
        id: "a".into(),
        state: h(),
        owner: h(),
        ceiling: Band::Low,
        purpose: Some(h()),
        grants: vec!["g-1".into()],
        tokens: 1,
        last_used_ms: Some(5),
        never_used: vec!["a__b".into()],
        disabled: Some(h()),
    };
    let pin = PinRow {
        id: h(),
        state: "drifted".into(),
        kind: "read".into(),
        band: Band::Medium,
        digest: "d".into(),
        accepted_by: h(),
        accepted_at_ms: 4,
        why: Some(h()),
        definition: Some(h()),
    };
    let connector_row = ConnectorRow {
        id: "tickets".into(),
        state: "drifted".into(),
        place: h(),
        shared: false,
        calls: 1,
        failures: 1,
        last_failure: Some(h()),
        children: vec![Child { pid: 1, state: h(), grant: Some("g-1".into()), age_ms: 5, calls: 1 }],
        tools: vec![pin],
        oddities: vec![Fact::new(h(), h())],
    };
    let live = LiveCall {
        id: "c1".into(),
        agent: h(),
        instance: Some(h()),
        grant: "g-1".into(),
        tool: Some(h()),
        since_ms: 1,
        state: h(),
    };
    let lease_row = LeaseRow {
        id: "lease-1".into(),
        state: "lent".into(),
        connector: "tickets".into(),
        provider: h(),
        reference: h(),
        access: h(),
        grant: Some("g-1".into()),
        task: Some(h()),
        owner: Some(h()),
        agent: Some(h()),
        uses: 2,
        since_ms: 1_795_303_100_000,
        until_ms: 1_795_303_279_042,
        ..LeaseRow::default()
    };
    let overdue = LeaseRow {
        id: "lease-2".into(),
        state: "overdue".into(),
        why: Some(h()),
        tries: 3,
        fault: Some(h()),
        next_ms: Some(1_795_303_199_042),
        revocable: true,
        ..lease_row.clone()
    };
    let over = LeaseRow {
        id: "lease-3".into(),
        state: "ended".into(),
        how: Some("revoked".into()),
        why: Some(h()),
        ended_ms: Some(1_795_303_170_000),
        ..lease_row.clone()
    };
    let lent = CredentialsView {
        leases: vec![lease_row.clone(), overdue.clone()],
        standing: vec![StandingRow { connector: "shop".into(), provider: h(), reference: h(), since_ms: Some(5), old: true }],
        ended: vec![over.clone()],
    };
    let only = LeaseFilter { grant: Some(h()), connector: Some(h()) };
    let halt = HaltRow { what: "agent:a".into(), since_ms: 1, by: h(), reason: Some(h()) };
    let noticed =
        Detection { what: h(), about: h(), href: Some("/calls/c1".into()), at_ms: Some(1), band: Band::High, help: h() };
    let query =
        AuditQuery { agent: h(), tool: h(), outcome: "denied".into(), id: h(), from: h(), until: h(), before: String::new() };
    let record =
        AuditRow { at_ms: 1, stream: "calls".into(), what: h(), who: h(), about: h(), why: h(), call: Some("c1".into()) };
    let found = AuditPage {
        rows: vec![record.clone(), AuditRow { call: None, ..record }],
        older: Some("calls.7".into()),
        read: 9,
        remark: Some(h()),
    };
    let bar = Bar { name: h(), start_us: 5, length_us: 50, outward: true, failed: true };
    let call_view = CallView {
        id: h(),
        trace: Some(h()),
        picture: Some(Picture { total_us: 100, bars: vec![bar] }),
        records: vec![(h(), vec![FieldView { name: h(), value: h() }])],
    };
    let lately = vec![Aged {
        id: "apr-9".into(),
        code: "A1-13".into(),
        tool: h(),
        agent: h(),
        state: "denied".into(),
        by: Some(h()),
        at_ms: 4,
    }];
    let full = Inbox { rows: vec![row("apr-1"), row("apr-2")], total: 2, page: 1, pages: 2, lately };
    let review = ReviewRow {
        id: "apr-5".into(),
        code: "A1-14".into(),
        tool: h(),
        band: Band::High,
        agent: h(),
        state: h(),
        binding_digest: "sha256:55".into(),
        broken: Broken { by: h(), at_ms: 4, reason: Some(h()), reviewed: None },
        barred: None,
        doubt: Some(h()),
    };
    let unread = ReviewRow { id: "apr-6".into(), barred: Some(h()), ..review.clone() };
    let owned = ApprovalView { choices: Choices { no_yes: Some(h()), ..Choices::default() }, ..question(&hostile_arguments()) };
    let together = [question(&hostile_arguments()), ApprovalView { id: "apr-8".into(), ..question(&hostile_arguments()) }];
    let pages = [
        ("batch", batch(&frame, &together, &[h()])),
        ("batch that is not theirs", batch(&frame, std::slice::from_ref(&owned), &[])),
        ("batch changed", batch_changed(&frame, &["apr-1".into()], &[h()])),
        ("reviews", reviews(&frame, &[review, unread])),
        ("owned", approval(&frame, &owned)),
        ("inbox", inbox(&frame, &full)),
        ("empty inbox", inbox(&frame, &Inbox { page: 1, pages: 1, ..Inbox::default() })),
        ("approval", approval(&frame, &question(&hostile_arguments()))),
        ("settled", approval(&frame, &settled)),
        ("barred", approval(&frame, &barred)),
        ("decided already", decided_already(&frame, &settled)),
        ("changed meanwhile", changed_meanwhile(&frame, &settled)),
        ("agents", agents(&frame, &[agent])),
        ("grants", grants(&frame, &[grant_row], true)),
        ("grant", grant(&frame, &grant_view)),
        ("connectors", connectors(&frame, std::slice::from_ref(&connector_row))),
        ("connector", connector(&frame, &connector_row)),
        ("live", live_calls(&frame, &[live])),
        ("credentials", credentials(&frame, &lent, &LeaseFilter::default())),
        ("credentials of one", credentials(&frame, &only.of(lent.clone()), &only)),
        ("lease", lease(&frame, &lease_row)),
        ("lease that is overdue", lease(&frame, &overdue)),
        ("lease that ended", lease(&frame, &over)),
        ("halts", halts(&frame, &[halt])),
        ("detections", detections(&frame, &[noticed])),
        ("audit", audit(&frame, &query, &found)),
        ("call", call(&frame, &call_view)),
    ];
    pages.into_iter().map(|(name, page)| (name, page.into_string())).collect()
}

/// The tags of a page that was made well-formed: name and attributes, in order. An end has a name with `/`.
fn tags(html: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut found = Vec::new();
    for part in html.split('<').skip(1) {
        // No `>` stands in an attribute: it is escaped there.
        let inside = part.split('>').next().unwrap();
        let (name, mut rest) = inside.split_once(' ').unwrap_or((inside, ""));
        let mut attributes = BTreeMap::new();
        while !rest.trim().is_empty() {
            let (attribute, after) = rest.split_once('=').filter(|(key, _)| !key.trim().contains(' ')).unwrap_or_else(|| {
                let (key, after) = rest.trim_start().split_once(' ').unwrap_or((rest.trim(), ""));
                (key, if after.is_empty() { "" } else { after })
            });
            if let Some(quoted) = after.strip_prefix('"') {
                let (value, next) = quoted.split_once('"').unwrap();
                attributes.insert(attribute.trim().to_owned(), value.to_owned());
                rest = next;
            } else {
                attributes.insert(attribute.trim().to_owned(), String::new());
                rest = after;
            }
        }
        found.push((name.to_owned(), attributes));
    }
    found
}

#[test]
fn what_others_wrote_is_text_on_every_page() {
    for (name, html) in all_pages() {
        let scripts: Vec<_> = tags(&html).into_iter().filter(|(tag, _)| tag == "script").collect();
        let from: Vec<_> = scripts.iter().map(|(_, of)| of["src"].as_str()).collect();
        assert_eq!(from, ["/assets/console.js", "/passkey.js"], "{name}");
        assert!(!html.contains("<img src=x"), "{name}");
        for (tag, attributes) in tags(&html) {
            assert!(!matches!(tag.as_str(), "style" | "iframe" | "object" | "embed" | "base"), "{name}: {tag}");
            for (key, value) in &attributes {
                assert!(!key.starts_with("on") && key != "style", "{name}: {tag} {key}");
                if matches!(key.as_str(), "href" | "src" | "action") {
                    assert!(value.starts_with('/') || value.starts_with('#'), "{name}: {tag} {key}={value}");
                }
            }
        }
    }
}

#[test]
fn nothing_invisible_is_left_in_what_is_read() {
    for (name, html) in all_pages() {
        // In the fields of a form stands what was typed; everything else is for reading.
        let read: String = html.split('<').map(|part| if part.starts_with("input") { "" } else { part }).collect();
        let hidden: Vec<char> = read.chars().filter(|c| is_invisible(*c)).collect();
        assert!(hidden.is_empty(), "{name}: {hidden:?}");
        if !matches!(name, "empty inbox") {
            assert!(html.contains("\\u{202e}"), "{name} does not show what others wrote");
        }
    }
}

#[test]
fn every_page_can_be_read_and_used_without_eyes() {
    for (name, html) in all_pages() {
        let tags = tags(&html);
        let count = |tag: &str| tags.iter().filter(|(name, _)| name == tag).count();
        assert_eq!((count("h1"), count("main"), count("nav") >= 1), (1, 1, true), "{name}");
        let ids: Vec<&String> = tags.iter().filter_map(|(_, attributes)| attributes.get("id")).collect();
        let distinct: BTreeSet<&&String> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "{name} has an id twice: {ids:?}");
        let labelled: BTreeSet<&str> =
            tags.iter().filter(|(tag, _)| tag == "label").filter_map(|(_, of)| of.get("for").map(String::as_str)).collect();
        for (tag, attributes) in &tags {
            let is_field = matches!(tag.as_str(), "input" | "textarea" | "select");
            if is_field && attributes.get("type").is_none_or(|kind| kind != "hidden") {
                let id = attributes.get("id").map_or("", String::as_str);
                assert!(labelled.contains(id) || id == "keys-on", "{name}: {tag} {attributes:?} has no label");
            }
            assert!(!attributes.contains_key("autofocus"), "{name}: {tag}");
            for reference in ["aria-labelledby", "for"] {
                if let Some(to) = attributes.get(reference) {
                    assert!(ids.contains(&to), "{name}: {reference} {to} points nowhere");
                }
            }
            if tag == "img" {
                assert!(attributes.contains_key("alt"), "{name}");
            }
        }
        for post in tags.iter().filter(|(tag, of)| tag == "form" && of.get("method").is_some_and(|way| way == "post")) {
            assert!(post.1["action"].starts_with('/'), "{name}");
        }
        let (forms, guards) = (
            tags.iter().filter(|(tag, of)| tag == "form" && of.get("method").is_some_and(|way| way == "post")).count(),
            tags.iter().filter(|(_, of)| of.get("name").is_some_and(|field| field == "token")).count(),
        );
        assert_eq!(forms, guards, "{name}: a form that another page could send");
    }
}

/// The text of a page, as somebody reads it: without tags, and with the characters for their escapes.
fn read(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text.push_str(part.split_once('>').map_or("", |(_, after)| after));
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[test]
fn every_byte_of_the_arguments_is_on_the_page() {
    let long = (0..20_000).map(|n| format!("{n:05}")).collect::<Vec<_>>().concat();
    let text =
        serde_json::json!({"body": long, "to": "a\u{202e}b\u{2066}c", "n": 1, "md": "[x](https://evil.example)"}).to_string();
    assert!(text.len() > 100_000);
    let page = approval(&frame(), &ApprovalView { earlier: None, ..question(&text) }).into_string();
    let shown = read(&page);
    // Typed, and as it is sent.
    assert_eq!(shown.matches(&long).count(), 2);
    assert!(shown.contains("a\\u{202e}b\\u{2066}c") && shown.contains("[x](https://evil.example)"));
    assert!(shown.contains(&format!("Exactly these {} bytes", text.len())));
    assert!(!page.contains("evil.example\"") && !page.contains("href=\"https"));
}

#[test]
fn a_page_of_a_hundred_kilobytes_of_small_values_is_made_quickly() {
    let text = serde_json::json!({"items": (0..12_000).map(|n| serde_json::json!({"k": n})).collect::<Vec<_>>()}).to_string();
    let began = std::time::Instant::now();
    let view = ApprovalView {
        earlier: Some(Earlier { code: "A".into(), by: "ada".into(), at_ms: 1, text: text.clone() }),
        ..question(&text)
    };
    let page = approval(&frame(), &view).into_string();
    assert!(page.contains("/items/11999/k"));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn what_is_signed_is_what_was_shown() {
    let view = question("{\"amount\":4900}");
    let of = Decidable::of(&view);
    let page = approval(&frame(), &view).into_string();
    assert_eq!(page.matches(&format!("name=\"view\" value=\"{}\"", of.view)).count(), 3);
    // Whoever has the page can find the digest from what stands in it.
    assert!(page.contains(&of.head) && page.contains(&of.body));
    assert_eq!(of.view, Digest::of(format!("{}\n{}", of.head, of.body).as_bytes()));
    // Time, who waits, and what others say meanwhile are not what is decided.
    let later = ApprovalView { waiting: true, said: Vec::new(), ahead: Vec::new(), likewise: None, ..view.clone() };
    assert_eq!(Decidable::of(&later).view, of.view);
    let others = [
        question("{\"amount\":490000}"),
        ApprovalView { band: Band::Low, ..view.clone() },
        ApprovalView { owner: "eve".into(), ..view.clone() },
        ApprovalView { asked: Vec::new(), ..view.clone() },
        ApprovalView { claim: None, ..view.clone() },
        ApprovalView { definition: None, ..view.clone() },
        ApprovalView { earlier: None, ..view.clone() },
        ApprovalView { binding_digest: "sha256:12".into(), ..view },
    ];
    assert!(others.iter().all(|other| Decidable::of(other).view != of.view));
}

#[test]
fn a_no_comes_first_and_a_yes_is_only_where_it_may_be() {
    let frame = frame();
    let page = approval(&frame, &question("{}")).into_string();
    let place = |part: &str| page.find(part).unwrap();
    assert!(place("id=\"arguments\"") < place("value=\"deny\"") && place("value=\"deny\"") < place("value=\"approve\""));
    assert!(page.contains("name=\"code\"") && page.contains("data-key=\"t\""));
    let none = |view: &ApprovalView| {
        let page = approval(&frame, view).into_string();
        (page.contains("value=\"approve\""), page.contains("value=\"deny\""))
    };
    let plain = question("{}");
    assert_eq!(none(&plain), (true, true));
    assert_eq!(
        none(&ApprovalView { choices: Choices { barred: Some("no".into()), ..Choices::default() }, ..plain.clone() }),
        (false, false)
    );
    assert_eq!(none(&ApprovalView { arguments: Arguments::Unreadable("x".into()), ..plain.clone() }), (false, true));
    assert_eq!(none(&ApprovalView { arguments: Arguments::Gone, ..plain.clone() }), (false, true));
    let settled = Settled { what: "denied by ada".into(), at_ms: Some(1), why: None };
    assert_eq!(none(&ApprovalView { settled: Some(settled), ..plain.clone() }), (false, false));
    let simple = ApprovalView { choices: Choices::default(), band: Band::High, ..plain };
    let page = approval(&frame, &simple).into_string();
    assert!(!page.contains("name=\"code\"") && !page.contains("data-key=\"t\""));
}

#[test]
fn an_empty_inbox_says_what_will_be_there() {
    let html = inbox(&frame(), &Inbox { page: 1, pages: 1, ..Inbox::default() }).into_string();
    assert!(html.contains("it appears here by itself"));
    assert!(html.contains("<noscript><meta http-equiv=\"refresh\""));
    assert!(!approval(&frame(), &question("{}")).into_string().contains("http-equiv"), "somebody may be writing there");
}

#[test]
fn the_assets_are_our_own() {
    let (css, js) = (include_str!("../../assets/console.css"), include_str!("../../assets/console.js"));
    for asset in [css, js] {
        assert!(
            !asset.contains("http://") && !asset.contains("https://") && !asset.contains("@import") && !asset.contains("eval(")
        );
    }
    assert!(css.contains("prefers-color-scheme: dark") && css.contains("prefers-reduced-motion"));
    assert!(!js.contains("innerHTML ="), "what comes from the server is parsed without running it");
}

/// Which places are masked differs from call to call: a comparison shows none of either.
#[test]
fn a_batch_shows_nothing_that_is_masked_in_one_of_its_calls() {
    let with = |id: &str, note: &str, masked: &[&str]| ApprovalView {
        id: id.into(),
        arguments: Arguments::Kept {
            text: serde_json::json!({"note": note}).to_string(),
            masked: masked.iter().map(|place| (*place).to_owned()).collect(),
        },
        ..question("{}")
    };
    let both = [with("apr-1", "call 0660 1234567", &["/note"]), with("apr-2", "call the office", &[])];
    for views in [both.clone(), [both[1].clone(), both[0].clone()]] {
        let page = batch(&frame(), &views, &[]).into_string();
        assert!(!page.contains("1234567") && page.contains("apr-2"), "{page}");
    }
}

/// Only who may change something has something to press; and what can't be pressed any more is not there.
#[test]
fn a_lease_is_taken_back_by_admins_while_it_is_lent() {
    let row = LeaseRow { id: "lease-1".into(), state: "lent".into(), connector: "tickets".into(), ..LeaseRow::default() };
    let (admin, viewer) = (frame(), Frame { may_change: false, ..frame() });
    let view = CredentialsView { leases: vec![row.clone()], ..CredentialsView::default() };
    for (frame, is_there) in [(&admin, true), (&viewer, false)] {
        let (list, one) = (credentials(frame, &view, &LeaseFilter::default()).into_string(), lease(frame, &row).into_string());
        assert_eq!(list.contains("/credentials/lease-1#take-back"), is_there);
        assert_eq!(one.contains("action=\"/credentials/lease-1/revoke\""), is_there);
        assert_eq!(one.matches("data-sign").count(), usize::from(is_there), "it is signed like any change");
    }
    for state in ["ending", "overdue", "lapsing", "ended"] {
        let row = LeaseRow { state: state.into(), ..row.clone() };
        assert!(!lease(&admin, &row).into_string().contains("/revoke\""), "{state}");
    }
    let empty = credentials(&viewer, &CredentialsView::default(), &LeaseFilter::default()).into_string();
    assert!(empty.contains("Nothing is lent.") && empty.contains("[[providers]]"), "it says what to do");
}

#[test]
fn what_is_lent_is_shown_by_grant_and_by_connector() {
    let row = |grant: &str, connector: &str| LeaseRow {
        grant: Some(grant.into()),
        connector: connector.into(),
        state: "lent".into(),
        ..LeaseRow::default()
    };
    let standing = StandingRow { connector: "shop".into(), provider: h(), reference: h(), since_ms: None, old: false };
    let view = CredentialsView {
        leases: vec![row("g-1", "tickets"), row("g-2", "tickets"), row("g-1", "shop")],
        standing: vec![standing],
        ended: vec![row("g-1", "shop")],
    };
    let counts = |grant: Option<&str>, connector: Option<&str>| {
        let of = LeaseFilter { grant: grant.map(str::to_owned), connector: connector.map(str::to_owned) }.of(view.clone());
        (of.leases.len(), of.standing.len(), of.ended.len())
    };
    assert_eq!(counts(None, None), (3, 1, 1));
    assert_eq!(counts(Some("g-1"), None), (2, 0, 1));
    assert_eq!(counts(None, Some("tickets")), (2, 0, 0));
    assert_eq!((counts(Some("g-1"), Some("shop")), counts(Some("g"), None)), ((1, 0, 1), (0, 0, 0)));
}
