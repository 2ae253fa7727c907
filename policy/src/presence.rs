//! `has`: to Cedar a name that nothing declares is just absent, so a slip of the pen would silence a rule.

use std::collections::BTreeMap;

use cedar_policy::pst::{Template, Var};

use crate::catalogue::{Tool, call_fields, grant_attributes, is_about_grants, resource_attributes};
use crate::fault::nearest;
use crate::reads::presence_checks;
use crate::shape::{Field, Shape};

/// Every attribute that a rule asks for with `has` and that no tool in its scope could have.
pub(crate) fn missing(rule: &Template, tools: &[&Tool]) -> Vec<Missing> {
    if tools.is_empty() {
        return Vec::new();
    }
    presence_checks(rule).into_iter().filter_map(|(root, path)| declared(&root, &path, tools).err()).collect()
}

/// An attribute that no tool in a rule's scope has.
pub(crate) struct Missing {
    pub(crate) name: String,
    of: &'static str,
    known: Vec<String>,
}

impl Missing {
    pub(crate) fn what(&self) -> String {
        format!("`has {}` is never true: no such {}", self.name, self.of)
    }

    pub(crate) fn help(&self) -> Option<String> {
        match nearest(&self.name, self.known.iter().map(String::as_str)) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if self.known.is_empty() => None,
            None => Some(format!("there are {}", quoted(&self.known))),
        }
    }
}

/// Whether any tool's principal, resource or context has this path.
fn declared(root: &Var, path: &[String], tools: &[&Tool]) -> Result<(), Missing> {
    let attributes = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let facts;
    let (of, fields): (_, Vec<&BTreeMap<String, Field>>) = match root {
        Var::Action => return Ok(()),
        Var::Principal => {
            return among(path, "attribute of a grant", attributes(grant_attributes().collect()));
        }
        Var::Resource => {
            let of_agent = tools.iter().any(|tool| is_about_grants(&tool.name));
            let known = attributes(resource_attributes(of_agent).collect());
            return among(path, if of_agent { "attribute of an agent" } else { "attribute of a connector" }, known);
        }
        Var::Context => match path.first().map(String::as_str) {
            Some("call") => {
                facts = call_fields();
                ("fact of a call", vec![&facts])
            }
            Some("input") => {
                let inputs = tools.iter().map(|tool| &tool.input);
                ("argument of any tool in its scope", inputs.collect())
            }
            _ => {
                let known = vec!["call".to_owned(), "input".to_owned()];
                return among(path, "part of the context", known);
            }
        },
    };
    let inner = path.get(1..).unwrap_or_default();
    match fields.iter().map(|fields| missing_in(fields, inner)).collect::<Option<Vec<_>>>() {
        None => Ok(()),
        Some(missing) => {
            let name = missing.first().map(|(name, _)| name.clone()).unwrap_or_default();
            let mut known: Vec<String> = missing.into_iter().flat_map(|(_, known)| known).collect();
            known.sort_unstable();
            known.dedup();
            Err(Missing { name, of, known })
        }
    }
}

fn among(path: &[String], of: &'static str, known: Vec<String>) -> Result<(), Missing> {
    match path.first() {
        Some(name) if !known.contains(name) => Err(Missing { name: name.clone(), of, known }),
        _ => Ok(()),
    }
}

/// The first name of a path that isn't declared, with the names that are; `None` when all are.
/// Nothing is known about what lies inside an opaque field.
fn missing_in(fields: &BTreeMap<String, Field>, path: &[String]) -> Option<(String, Vec<String>)> {
    let (first, rest) = path.split_first()?;
    match fields.get(first).map(|field| &field.shape) {
        None => Some((first.clone(), fields.keys().cloned().collect())),
        Some(Shape::Record(inner)) => missing_in(inner, rest),
        Some(_) => None,
    }
}

/// Names as a list in a message.
pub(crate) fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
