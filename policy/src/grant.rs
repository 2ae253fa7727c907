//! A grant in the form that Cedar evaluates: built once, used for each of its calls.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{Entities, Entity, EntityUid, RestrictedExpression};

use crate::catalogue::Names;
use crate::facts::{ConnectorFacts, GrantFacts};

/// A grant with its agent, owner and connectors, ready to be asked about.
///
/// It belongs to no bundle: it stays good over reloads, until the grant or a connector changes.
#[derive(Clone, Debug)]
pub struct PreparedGrant {
    pub(crate) principal: EntityUid,
    pub(crate) entities: Entities,
    pub(crate) connectors: HashSet<EntityUid>,
}

/// Why a grant can't be put before Cedar. Its message is the operator's.
#[derive(Debug, thiserror::Error)]
#[error("grant `{grant}` can't be prepared for policy: {reason}")]
pub struct PrepareError {
    grant: String,
    reason: String,
}

impl PreparedGrant {
    /// Builds the entities of a grant. A call to a connector that isn't among these is denied.
    pub fn new(grant: &GrantFacts, connectors: &[ConnectorFacts]) -> Result<Self, PrepareError> {
        build(grant, connectors).map_err(|reason| PrepareError { grant: grant.id.clone(), reason: reason.to_string() })
    }
}

impl PreparedGrant {
    /// The same, and an agent to be asked about as the resource.
    pub(crate) fn with_agent(&self, agent: &str, owner: &str) -> Option<(Self, EntityUid)> {
        let names = Names::new().ok()?;
        let (agent, owner) = (names.agent(agent), names.user(owner));
        let new = [entity(agent.clone(), of_nobody(), [owner.clone()]).ok()?, entity(owner, [], []).ok()?];
        let missing = new.into_iter().filter(|entity| self.entities.get(&entity.uid()).is_none());
        let entities = self.entities.clone().add_entities(missing, None).ok()?;
        Some((Self { entities, ..self.clone() }, agent))
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn build(grant: &GrantFacts, connectors: &[ConnectorFacts]) -> Result<PreparedGrant, Failed> {
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
        entity(agent, of_nobody(), [owner.clone()])?,
        entity(owner, [], [])?,
    ];
    let by_id: BTreeMap<&str, &ConnectorFacts> = connectors.iter().map(|facts| (facts.id.as_str(), facts)).collect();
    let mut known = HashSet::new();
    for facts in by_id.into_values() {
        let attributes = [("sensitivity", text(&facts.sensitivity)), ("environment", text(&facts.environment))];
        let connector = names.connector(&facts.id);
        entities.push(entity(connector.clone(), attributes, [])?);
        known.insert(connector);
    }
    Ok(PreparedGrant { principal, entities: Entities::from_entities(entities, None)?, connectors: known })
}

/// The attributes of an agent that is asked about as a resource: nothing is known of it by these.
fn of_nobody() -> [(&'static str, RestrictedExpression); 2] {
    [("sensitivity", text("")), ("environment", text(""))]
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn entity<const A: usize, const P: usize>(
    uid: EntityUid,
    attributes: [(&str, RestrictedExpression); A],
    parents: [EntityUid; P],
) -> Result<Entity, Failed> {
    let attributes: HashMap<String, RestrictedExpression> =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Entity::new(uid, attributes, HashSet::from(parents))?)
}
