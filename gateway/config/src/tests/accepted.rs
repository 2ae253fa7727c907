//! What comes out of a good configuration.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use bailiwick_identity::{KeySource, Profile, SenderConstraint};
use bailiwick_pipeline::{
    grant::{Labels, ToolPattern},
    ports::Injection,
};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::{exposure::Prefix, validate::Undeclared};
use serde_json::json;

use super::{BASE, config, read, rendered};
use crate::{Bound, DEMO, Pin, PolicyFile, Program, ProtocolChoice, SecretSource, Sensitivity, Way, embedded};

#[test]
fn nothing_at_all_is_the_defaults() {
    let config = config("");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8931");
    assert_eq!(config.server.public_url(config.server.listen), "http://127.0.0.1:8931/mcp");
    assert_eq!(config.approvals.hold, Duration::from_secs(45));
    assert!(!config.approvals.allow_same_user && config.policy.include_default);
    assert!(config.agents.is_empty() && config.connectors.is_empty() && config.grants.is_empty());
}

#[test]
fn a_grant_takes_from_its_agent_what_it_does_not_say() {
    let text = format!(
        "{}environment = \"lab\"\nceiling = \"medium\"\n[[connectors]]\nid = \"t\"\ncommand = [\"/bin/t\"]\n[[grants]]\nid = \"g\"\nagent = \"a\"\npurpose = \"p\"\ntools = [\"t__*\"]\n",
        "[[agents]]\nid = \"a\"\nowner = \"o\"\n"
    );
    let config = config(&text);
    let grant = config.grant("g").unwrap().to_grant(1000, 3);
    assert_eq!((grant.owner.as_str(), grant.environment.as_str(), grant.ceiling), ("o", "lab", Band::Medium));
    assert_eq!((grant.not_before_ms, grant.expires_at_ms, grant.revision), (1000, 1000 + 8 * 3_600_000, 3));
    assert!(grant.from_config && !grant.default);
}

#[test]
fn an_issuer_is_known_by_what_its_profile_says() {
    let text = "[[issuers]]\nid = \"corp\"\nissuer = \"https://i.example/realms/a\"\n\
                [[issuers]]\nid = \"gh\"\nprofile = \"github_actions\"\n\
                [[issuers]]\nid = \"td\"\nprofile = \"spiffe_jwt\"\ntrust_domain = \"example.org\"\njwks_file = \"bundle.json\"\nsender_constraint = \"dpop\"\n\
                [[agents]]\nid = \"bot\"\nowner = \"o\"\nidentity = [{ uid = 7 }, { issuer = \"gh\", subject = \"repo:o/r:*\" }, { issuer = \"corp\", subject = \"repo:o/r:x\" }]\n";
    let config = config(text);
    let [corp, gh, td] = config.issuers.as_slice() else { panic!("{:?}", config.issuers) };
    assert_eq!(corp.source, KeySource::Discovery("https://i.example/realms/a".parse().unwrap()));
    assert_eq!(
        (corp.algorithms.len(), corp.max_lifetime, corp.max_stale),
        (9, Duration::from_hours(24), Duration::from_hours(1))
    );
    assert_eq!(
        (gh.issuer.as_deref(), &gh.profile),
        (Some("https://token.actions.githubusercontent.com"), &Profile::GithubActions)
    );
    assert_eq!(td.source, KeySource::File(PathBuf::from("/etc/bailiwick/bundle.json")));
    assert_eq!((td.sender_constraint, corp.sender_constraint), (SenderConstraint::Dpop, SenderConstraint::None));
    let bot = config.agent("bot").unwrap();
    assert_eq!((bot.uids.as_slice(), bot.subjects.len()), ([7].as_slice(), 2));
    assert!(bot.subjects[0].subject.matches("repo:o/r:ref:refs/heads/main"));
}

#[test]
fn tools_keep_the_prefix_unless_it_is_said_otherwise() {
    let prefix = |line: &str| config(&format!("{BASE}{line}")).connector("tickets").unwrap().prefix;
    assert_eq!(
        [prefix(""), prefix("prefix = \"always\"\n"), prefix("prefix = \"never\"\n")],
        [Prefix::Always, Prefix::Always, Prefix::Never]
    );
}

#[test]
fn each_pattern_is_a_capability_with_the_bounds_of_its_tool() {
    let text = format!(
        "{BASE}[[connectors]]\nid = \"shop\"\ncommand = [\"/bin/shop\"]\n[[grants]]\nid = \"g\"\nagent = \"bot\"\npurpose = \"p\"\nkinds = [\"read\"]\n\
         tools = [\"tickets__get\", \"shop__*\", \"tickets__search\"]\nargs.tickets__search.\"/project\".eq = \"support\"\n"
    );
    let config = config(&text);
    let capabilities = &config.grants[0].capabilities;
    let shown: Vec<_> = capabilities.iter().map(|one| (one.tools.to_string(), one.args.len())).collect();
    assert_eq!(shown, [("tickets__get".to_owned(), 0), ("shop__*".to_owned(), 0), ("tickets__search".to_owned(), 1)]);
    assert!(capabilities.iter().all(|one| one.kinds == Some(BTreeSet::from([Kind::Read]))));
    assert!(capabilities[2].broken_by(&json!({"project": "support"})).is_empty());
    assert_eq!(capabilities[2].broken_by(&json!({"project": "finance"})).len(), 1);
}

#[test]
fn a_tool_is_untrusted_execute_and_high_until_somebody_says_otherwise() {
    let lines = "tools.get = { kind = \"read\", band = \"low\", labels = [] }\ntools.put = { kind = \"write\", undeclared = \"allow\" }\n";
    let config = config(&format!("{BASE}{lines}"));
    let tickets = config.connector("tickets").unwrap();
    let get = tickets.terms_of(&"get".parse().unwrap());
    assert_eq!((get.kind, get.band, get.labels, get.undeclared), (Kind::Read, Band::Low, Labels::INTERNAL, Undeclared::Refuse));
    let put = tickets.terms_of(&"put".parse().unwrap());
    assert_eq!(
        (put.kind, put.band, put.labels.is_untrusted(), put.undeclared),
        (Kind::Write, Band::High, true, Undeclared::Allow)
    );
    let other = tickets.terms_of(&"other".parse().unwrap());
    assert_eq!((other.kind, other.band, other.labels), (Kind::Execute, Band::High, Labels::UNTRUSTED.join(Labels::INTERNAL)));
    assert_eq!((tickets.pin, tickets.sensitivity, tickets.shared), (Pin::Manual, Sensitivity::Internal, false));
}

#[test]
fn what_is_confidential_stays_so_whatever_its_labels_say() {
    let config =
        config(&format!("{BASE}sensitivity = \"confidential\"\nlabels = []\ntools.get = {{ labels = [\"untrusted\"] }}\n"));
    let tickets = config.connector("tickets").unwrap();
    assert_eq!(tickets.labels, Labels::CONFIDENTIAL);
    assert_eq!(tickets.terms_of(&"get".parse().unwrap()).labels, Labels::UNTRUSTED.join(Labels::CONFIDENTIAL));
}

#[test]
fn paths_start_from_the_folder_of_the_file() {
    let text = format!(
        "[policy]\nfiles = [\"policies/*.cedar\", \"/opt/x.cedar\", \"*.cedar\"]\n{BASE}credential = {{ provider = \"file\", path = \"secrets/t\", inject = {{ env = \"T\" }} }}\n"
    );
    let config = config(&text);
    assert_eq!(
        config.policy.files,
        [
            PolicyFile::AllIn(PathBuf::from("/etc/bailiwick/policies")),
            PolicyFile::One(PathBuf::from("/opt/x.cedar")),
            PolicyFile::AllIn(PathBuf::from("/etc/bailiwick/.")),
        ]
    );
    let credential = config.connectors[0].credential.as_ref().unwrap();
    assert_eq!(credential.source, SecretSource::File(PathBuf::from("/etc/bailiwick/secrets/t")));
}

#[test]
fn a_gateway_that_others_reach_says_whom_tokens_are_for() {
    let tls = |listen: &str| {
        format!("[server.tls]\nlisten = \"{listen}\"\nclient_auth = \"optional\"\ncertificate = \"c\"\nkey = \"k\"\n")
    };
    let issuer = "[[issuers]]\nid = \"corp\"\nissuer = \"https://i.example\"\n";
    let remote = "[server]\nallow_remote = true\nlisten = \"0.0.0.0:8931\"\n";
    let url = "[server]\npublic_url = \"https://gw.example.com/mcp\"\n";
    let [inside, outside] = [tls("127.0.0.1:8933"), tls("0.0.0.0:8933")];
    for text in [
        format!("{inside}{issuer}"),
        format!("{outside}{issuer}audience = \"us\"\n"),
        format!("{url}{outside}{issuer}"),
        format!("{remote}{issuer}audience = \"us\"\n"),
        format!("{remote}public_url = \"https://gw.example.com/mcp\"\n{issuer}"),
        outside.clone(),
    ] {
        config(&text);
    }
    assert!(read(&format!("{outside}{issuer}")).is_err());
    assert!(read(&format!("{remote}{inside}{issuer}")).is_err());
}

#[test]
fn listening_for_others_can_be_allowed() {
    let config =
        config("[server]\nallow_remote = true\nlisten = \"0.0.0.0:8931\"\npublic_url = \"https://gw.example.com/mcp\"\n");
    assert_eq!(config.server.public_url(config.server.listen), "https://gw.example.com/mcp");
}

#[test]
fn people_are_as_written() {
    let config = config(
        "[console]\npublic_url = \"https://console.example.com\"\nidle = \"5m\"\n[[connectors]]\nid = \"t\"\nurl = \"https://t.example/mcp\"\n\
         [[people]]\nid = \"ada@example.com\"\nowns = [\"support\"]\nroles = [\"approver\", \"viewer\"]\n\
         approves = { connectors = [\"t\"], up_to = \"high\" }\n",
    );
    assert_eq!(config.console.public_url.unwrap().as_str(), "https://console.example.com/");
    assert_eq!((config.console.enabled, config.console.idle), (true, Duration::from_mins(5)));
    let [ada] = config.people.as_slice() else { panic!("{:?}", config.people) };
    assert_eq!((ada.id.as_str(), ada.owns.contains("support"), ada.roles.len()), ("ada@example.com", true, 2));
    assert_eq!((ada.up_to, ada.connectors.as_ref().unwrap().len()), (Some(Band::High), 1));
}

#[test]
fn the_demo_is_embedded_and_classes_thirty_tools() {
    let demo = embedded(DEMO, []).unwrap();
    let count = |id: &str| demo.connector(id).map(|connector| connector.tools.len());
    assert_eq!((count("tickets"), count("files"), count("shop")), (Some(12), Some(10), Some(8)));
    assert!(demo.connectors.iter().all(|connector| connector.process().is_some_and(|process| process.program == Program::Own)));
    assert!(demo.approvals.allow_same_user);
    let credential = demo.connectors[0].credential.as_ref().unwrap();
    assert_eq!(credential.source.file("/data".as_ref()), Some(PathBuf::from("/data/demo-tickets.token")));
    assert_eq!(credential.injection, Injection::env("TICKETS_TOKEN"));
}

#[test]
fn a_connector_elsewhere_is_named_by_its_url() {
    let text = "[[connectors]]\nid = \"t\"\nurl = \"https://tickets.example.com/mcp?v=2\"\nnetworks = [\"10.1.0.0/16\", \"fd00:1::/48\"]\nroots = \"ca.pem\"\n\
         protocol = \"2026-07-28\"\nrelist_after = \"5s\"\ncredential = { provider = \"file\", path = \"t\", inject = { header = \"Authorization\", prefix = \"Bearer \" } }\n";
    let config = config(text);
    let connector = config.connector("t").unwrap();
    let Way::Http(http) = &connector.way else { panic!("{:?}", connector.way) };
    assert_eq!((http.url.as_str(), http.dangerous_plain_http), ("https://tickets.example.com/mcp?v=2", false));
    assert_eq!(http.networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.0.0/16", "fd00:1::/48"]);
    assert_eq!(http.roots, Some(PathBuf::from("/etc/bailiwick/ca.pem")));
    assert_eq!((connector.protocol, connector.relist_after), (ProtocolChoice::Modern, Duration::from_secs(5)));
    let injection = Injection::header("authorization", "Bearer ");
    assert_eq!(connector.credential.as_ref().unwrap().injection, injection);
    assert!(connector.process().is_none());
}

#[test]
fn plain_http_is_for_this_machine_or_for_who_says_so() {
    for url in ["http://127.0.0.1:8080/mcp", "http://[::1]/mcp", "http://localhost:1/mcp"] {
        config(&format!("[[connectors]]\nid = \"t\"\nurl = \"{url}\"\n"));
    }
    config("[[connectors]]\nid = \"t\"\nurl = \"http://t.example/mcp\"\ndangerous_plain_http = true\n");
}

#[test]
fn the_demo_grant_is_three_tools_and_a_refund_is_high() {
    let demo = embedded(DEMO, []).unwrap();
    let grant = demo.grant("demo-triage").unwrap();
    let tools: Vec<_> = grant.capabilities.iter().map(|one| one.tools.to_string()).collect();
    assert_eq!(tools, ["tickets__get", "tickets__search", "tickets__refund"]);
    assert!(grant.default && grant.ceiling == Band::High && grant.owner == "demo@localhost");
    for capability in &grant.capabilities {
        let ToolPattern::Tool(name) = &capability.tools else { panic!("{}", capability.tools) };
        let terms = demo.connectors[0].terms_of(name.tool().unwrap());
        let is_refund = name.tool().unwrap().as_str() == "refund";
        assert_eq!((terms.kind, terms.band), if is_refund { (Kind::Write, Band::High) } else { (Kind::Read, Band::Low) });
        assert_eq!(terms.labels.is_untrusted(), name.tool().unwrap().as_str() == "search");
    }
    let delete = demo.connector("files").unwrap().terms_of(&"delete".parse().unwrap());
    assert_eq!((delete.kind, delete.band), (Kind::Write, Band::High));
}

#[test]
fn a_bound_token_needs_what_it_is_bound_to() {
    let with = |auth: &str, way: &str, bound: &str, prefix: &str| {
        format!(
            "[[providers]]\nid = \"o\"\noauth = {{ issuer = \"https://l.example\", client_id = \"c\", {auth} }}\n[[connectors]]\nid = \"t\"\n\
             url = \"https://t.example/mcp\"\n{way}\ncredential = {{ provider = \"o\", scopes = [\"a\"], bound = \"{bound}\", \
             inject = {{ header = \"Authorization\", prefix = \"{prefix} \" }} }}\n"
        )
    };
    let (secret, mtls) = ("client_secret_file = \"s\"", "auth = \"mtls\", identity = \"c.pem\"");
    let bound = |text: &str| {
        let config = config(text);
        let credential = config.connector("t").unwrap().credential.clone().unwrap();
        let SecretSource::Issuer(lending) = credential.source else { panic!("{:?}", credential.source) };
        lending.bound
    };
    assert_eq!(bound(&with(secret, "", "dpop", "DPoP")), Some(Bound::Dpop));
    assert_eq!(bound(&with(mtls, "identity = \"c.pem\"", "mtls", "Bearer")), Some(Bound::Mtls));
    for (text, why) in [
        (with(secret, "", "dpop", "Bearer"), "behind `DPoP `"),
        (with(secret, "identity = \"c.pem\"", "mtls", "Bearer"), "asked without a certificate"),
        (with(mtls, "", "mtls", "Bearer"), "the connector presents none"),
        (with(mtls, "identity = \"d.pem\"", "mtls", "Bearer"), "another certificate"),
    ] {
        let shown = rendered(&read(&text).unwrap_err());
        assert!(shown.contains(why), "{why}: {shown}");
    }
}
