//! What connectors offer besides tools, and what they may ask: by name, and by which of them have no prefix.

use std::{collections::BTreeMap, sync::Arc};

use bailiwick_schemas::{
    exposure::Prefix,
    names::{Feature, QualifiedName},
};

use crate::catalogue::Tool;

/// The features of all connectors.
#[derive(Debug, Default)]
pub struct Features {
    all: BTreeMap<QualifiedName, Arc<Tool>>,
    /// Of each feature the one whose items have their own names alone, if there is one. Found once: it is asked for with each item of a list.
    bare: BTreeMap<Feature, Arc<Tool>>,
}

impl Features {
    /// The one of this name.
    pub fn get(&self, name: &QualifiedName) -> Option<&Arc<Tool>> {
        self.all.get(name)
    }

    /// All of them, in order of their names.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.all.values()
    }

    /// The one of this feature whose connector alone is to have no prefix.
    pub(crate) fn bare(&self, feature: Feature) -> Option<&Arc<Tool>> {
        self.bare.get(&feature)
    }
}

impl FromIterator<Arc<Tool>> for Features {
    fn from_iter<T: IntoIterator<Item = Arc<Tool>>>(features: T) -> Self {
        let all: BTreeMap<_, _> = features.into_iter().map(|tool| (tool.name.clone(), tool)).collect();
        let without = |feature: Feature| {
            let is_without = |tool: &&Arc<Tool>| tool.name.feature() == Some(feature) && tool.connector.prefix == Prefix::Never;
            let mut without = all.values().filter(is_without);
            without.next().filter(|_| without.next().is_none()).map(|only| (feature, Arc::clone(only)))
        };
        Self { bare: Feature::ALL.into_iter().filter_map(without).collect(), all }
    }
}
