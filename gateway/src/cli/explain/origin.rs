//! Where rules and grants are written.

use bailiwick_config::Config;

use crate::{
    cli::{Session, policy::place},
    runtime::policies_of,
    world::PolicyText,
};

/// Where rules and grants are written.
pub(super) struct Origin {
    config_name: String,
    config: Option<Config>,
    policies: Vec<PolicyText>,
    /// The program as a person types it for the same places.
    pub(super) again: String,
}

impl Origin {
    /// By this configuration, where it can be read.
    pub(super) fn new(session: &Session, config: Option<Config>) -> Self {
        let path = session.places.config.as_ref();
        Self {
            config_name: path.map_or_else(|| "embedded".to_owned(), |path| path.display().to_string()),
            policies: config.as_ref().and_then(|config| policies_of(config).ok()).unwrap_or_default(),
            config,
            again: session.places.again.clone(),
        }
    }

    /// `file:line` of the rule with this id.
    pub(super) fn rule(&self, id: &str) -> Option<String> {
        place(id, &self.policies)
    }

    /// What the rule with this id says of itself.
    pub(super) fn reason(&self, id: &str) -> Option<String> {
        let annotation = format!("@id(\"{id}\")");
        let text = self.policies.iter().find_map(|policy| policy.text.split_once(&annotation))?.1;
        let (head, _) = text.split_once(';')?;
        let (_, reason) = head.split_once("@reason(\"")?;
        reason.split_once('"').map(|(reason, _)| reason.to_owned())
    }

    /// Whether the configuration has a connector of this id; where it can't be read, that can't be told.
    pub(super) fn has_connector(&self, id: &str) -> bool {
        self.config.as_ref().is_none_or(|config| config.connector(id).is_some())
    }

    /// `file:line` of a grant of the configuration.
    pub(super) fn grant(&self, id: &str) -> Option<String> {
        let line = self.config.as_ref()?.line_of("grants", id)?;
        Some(format!("{}:{line}", self.config_name))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn rules_and_grants_are_found_where_they_are_written() {
        let origin = Origin {
            config_name: "embedded".to_owned(),
            config: Some(bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap()),
            policies: vec![PolicyText {
                name: "default".to_owned(),
                text: bailiwick_policy::DEFAULT_BUNDLE.to_owned(),
                path: None,
            }],
            again: "bailiwick".to_owned(),
        };
        let line = |text: &str, wanted: &str| text.lines().position(|line| line.contains(wanted)).map(|at| at + 1);
        let rule = line(bailiwick_policy::DEFAULT_BUNDLE, "@id(\"high-needs-approver\")");
        assert_eq!(origin.rule("high-needs-approver"), rule.map(|line| format!("default:{line}")));
        assert_eq!(origin.reason("high-needs-approver").as_deref(), Some("high-risk calls need an approver"));
        assert_eq!((origin.rule("high"), origin.reason("within-grant")), (None, None));
        let grant = line(bailiwick_config::DEMO, "id = \"demo-triage\"");
        assert_eq!(origin.grant("demo-triage"), grant.map(|line| format!("embedded:{line}")));
        assert_eq!(origin.grant("demo"), None);
    }
}
