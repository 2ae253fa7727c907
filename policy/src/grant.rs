//! A grant in the form that Cedar evaluates: built once, used for each of its calls.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Entities, Entity, EntityUid, RestrictedExpression};

use crate::catalogue::Names;
use crate::facts::{ConnectorFacts, Directory, GrantFacts};

/// A grant with its agent, owner and connectors, ready to be asked about.
///
/// It belongs to no bundle: it stays good over reloads, until the grant or a connector changes.
#[derive(Clone, Debug)]
pub struct PreparedGrant {
    pub(crate) principal: EntityUid,
    pub(crate) entities: Entities,
    pub(crate) connectors: HashSet<EntityUid>,
    directory: Arc<Directory>,
}

/// Why a grant can't be put before Cedar. Its message is the operator's.
#[derive(Debug, thiserror::Error)]
#[error("grant `{grant}` can't be prepared for policy: {reason}")]
pub struct PrepareError {
    grant: String,
    reason: String,
}

impl PreparedGrant {
    /// Builds the entities of a grant whose agent is in no group and whose owner is in no team. A call to a connector that isn't among these is
    /// denied.
    pub fn new(grant: &GrantFacts, connectors: &[ConnectorFacts]) -> Result<Self, PrepareError> {
        Self::among(grant, connectors, &Arc::default())
    }

    /// The same among these groups and teams.
    pub fn among(grant: &GrantFacts, connectors: &[ConnectorFacts], directory: &Arc<Directory>) -> Result<Self, PrepareError> {
        build(grant, connectors, directory).map_err(|reason| PrepareError { grant: grant.id.clone(), reason: reason.to_string() })
    }

    /// The same, and an agent to be asked about as the resource.
    pub(crate) fn with_agent(&self, agent: &str, owner: &str) -> Option<(Self, EntityUid)> {
        let names = Names::new().ok()?;
        let new = [agent_entity(&names, agent, owner, &self.directory).ok()?, owner_entity(&names, owner, &self.directory).ok()?];
        let missing = new.into_iter().filter(|entity| self.entities.get(&entity.uid()).is_none());
        let entities = self.entities.clone().add_entities(missing, None).ok()?;
        Some((Self { entities, ..self.clone() }, names.agent(agent)))
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn build(grant: &GrantFacts, connectors: &[ConnectorFacts], directory: &Arc<Directory>) -> Result<PreparedGrant, Failed> {
    let names = Names::new()?;
    let (principal, agent) = (names.grant(&grant.id), names.agent(&grant.agent));
    let owner = names.user(&grant.owner);
    let reference = RestrictedExpression::new_entity_uid;
    let delegators = grant.delegators.iter().map(|agent| reference(names.agent(agent)));
    let attributes = [
        ("agent", reference(agent.clone())),
        ("owner", reference(owner.clone())),
        ("purpose", text(&grant.purpose)),
        ("environment", text(&grant.environment)),
        ("ceiling", RestrictedExpression::new_long(grant.ceiling.level())),
        ("depth", RestrictedExpression::new_long(grant.depth.into())),
        ("delegators", RestrictedExpression::new_set(delegators)),
        ("data_classes", RestrictedExpression::new_set(grant.data_classes.iter().map(|class| text(class)))),
    ];
    let mut entities = vec![
        entity(principal.clone(), attributes, [agent.clone()])?,
        agent_entity(&names, &grant.agent, &grant.owner, directory)?,
        owner_entity(&names, &grant.owner, directory)?,
    ];
    let by_id: BTreeMap<&str, &ConnectorFacts> = connectors.iter().map(|facts| (facts.id.as_str(), facts)).collect();
    let mut known = HashSet::new();
    for facts in by_id.into_values() {
        let attributes = [
            ("sensitivity", text(&facts.sensitivity)),
            ("environment", text(&facts.environment)),
            ("credential", text(facts.credential)),
        ];
        let connector = names.connector(&facts.id);
        let environment = Some(&facts.environment).filter(|name| !name.is_empty());
        entities.push(entity(connector.clone(), attributes, environment.map(|name| names.environment(name)))?);
        known.insert(connector);
    }
    let entities = Entities::from_entities(entities, None)?;
    Ok(PreparedGrant { principal, entities, connectors: known, directory: Arc::clone(directory) })
}

/// An agent: in its groups and its team, and in who is accountable for it. Of what a connector has, nothing is known of it.
fn agent_entity(names: &Names, id: &str, owner: &str, directory: &Directory) -> Result<Entity, Failed> {
    let said = directory.agents.get(id);
    let groups = said.iter().flat_map(|facts| &facts.groups).map(|group| names.group(group));
    let team = said.and_then(|facts| facts.team.as_deref()).map(|team| names.team(team));
    let trust = RestrictedExpression::new_long(said.map_or(0, |facts| facts.trust.into()));
    let attributes = [("sensitivity", text("")), ("environment", text("")), ("credential", text("none")), ("trust", trust)];
    entity(names.agent(id), attributes, groups.chain(team).chain([names.user(owner)]))
}

/// Who is accountable: in the teams that name them.
fn owner_entity(names: &Names, owner: &str, directory: &Directory) -> Result<Entity, Failed> {
    let teams = directory.teams.iter().filter(|(_, members)| members.contains(owner));
    entity(names.user(owner), [], teams.map(|(team, _)| names.team(team)))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn entity<const A: usize>(
    uid: EntityUid,
    attributes: [(&str, RestrictedExpression); A],
    parents: impl IntoIterator<Item = EntityUid>,
) -> Result<Entity, Failed> {
    let attributes: HashMap<String, RestrictedExpression> =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Entity::new(uid, attributes, parents.into_iter().collect())?)
}
