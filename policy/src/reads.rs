//! What rules look at: found once when a bundle is loaded, so that nothing else is built for a decision.

use std::collections::BTreeMap;

use cedar_policy::pst::{Clause, Expr, Template, Var};

/// How much of a value rules look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// Nothing of it.
    #[default]
    Nothing,
    /// Whether it is there, and these fields of it.
    Fields(BTreeMap<String, Want>),
    /// All of it.
    Everything,
}

impl Want {
    /// Whether nothing is looked at.
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// How much of one field is looked at.
    pub fn field(&self, name: &str) -> &Self {
        match self {
            Self::Nothing => &Self::Nothing,
            Self::Fields(fields) => fields.get(name).unwrap_or(&Self::Nothing),
            Self::Everything => &Self::Everything,
        }
    }

    /// Looks at the value under this path too: at its presence, or at all of it.
    fn add(&mut self, path: &[&str], look: Look) {
        match (path, look) {
            ([], Look::All) => *self = Self::Everything,
            ([], Look::Presence) => {
                self.fields();
            }
            ([first, rest @ ..], look) => {
                if let Some(fields) = self.fields() {
                    fields.entry((*first).to_owned()).or_default().add(rest, look);
                }
            }
        }
    }

    fn fields(&mut self) -> Option<&mut BTreeMap<String, Self>> {
        if self.is_nothing() {
            *self = Self::Fields(BTreeMap::new());
        }
        match self {
            Self::Fields(fields) => Some(fields),
            Self::Nothing | Self::Everything => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Look {
    Presence,
    All,
}

/// What the rules that matter to one tool look at, beyond principal, resource and scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    context: Want,
    action: bool,
}

impl Reads {
    /// Everything there is: the answer that is never wrong.
    #[cfg(test)]
    pub(crate) const EVERYTHING: Self = Self { context: Want::Everything, action: true };

    /// Whether any rule looks at the context. If none does, the decision is the same for every call
    /// of this tool under this grant.
    pub const fn context(&self) -> bool {
        !self.context.is_nothing()
    }

    /// What is looked at of the arguments.
    pub fn input(&self) -> &Want {
        self.context.field("input")
    }

    /// What is looked at of `context.call`.
    pub fn call(&self) -> &Want {
        self.context.field("call")
    }

    /// Whether a decision needs the arguments at all: if not, they need not even be parsed.
    pub fn arguments(&self) -> bool {
        !self.input().is_nothing() || !self.call().field("opaque_fields").is_nothing()
    }

    /// Whether a condition mentions `action`, so that its groups must be known.
    pub(crate) const fn action(&self) -> bool {
        self.action
    }

    /// Looks at what this rule's conditions look at, too.
    pub(crate) fn add_rule(&mut self, rule: &Template) {
        for clause in rule.clauses() {
            let (Clause::When(condition) | Clause::Unless(condition)) = clause;
            self.add(condition);
        }
    }

    /// Looks at everything there is: the answer that is never wrong.
    pub(crate) fn add_everything(&mut self) {
        self.context = Want::Everything;
        self.action = true;
    }

    /// Looks at what this expression looks at, too.
    pub(crate) fn add(&mut self, expression: &Expr) {
        if let Some((root, path, look)) = access(expression) {
            match root {
                Var::Context => self.context.add(&path, look),
                Var::Action => self.action = true,
                Var::Principal | Var::Resource => {}
            }
            return;
        }
        let Some(children) = children(expression) else {
            // An operator that this code doesn't know: it might look at anything.
            self.add_everything();
            return;
        };
        for child in children {
            self.add(child);
        }
    }
}

/// Whether an expression mentions the context at all.
pub(crate) fn mentions_context(expression: &Expr) -> bool {
    let mut reads = Reads::default();
    reads.add(expression);
    reads.context()
}

/// Every path that the conditions of a rule ask for with `has`, with the variable it starts from.
pub(crate) fn presence_checks(rule: &Template) -> Vec<(Var, Vec<String>)> {
    let mut found = Vec::new();
    let mut open: Vec<&Expr> = rule
        .clauses()
        .iter()
        .map(|clause| match clause {
            Clause::When(condition) | Clause::Unless(condition) => condition.as_ref(),
        })
        .collect();
    while let Some(expression) = open.pop() {
        if let Some((root, path, Look::Presence)) = access(expression) {
            found.push((root, path.into_iter().map(str::to_owned).collect()));
        }
        open.extend(children(expression).unwrap_or_default());
    }
    found
}

/// The variable and the attribute path of `context.call.hour`, `context.input has amount`, or a bare `context`.
fn access(expression: &Expr) -> Option<(Var, Vec<&str>, Look)> {
    match expression {
        Expr::Var(root) => Some((root.clone(), Vec::new(), Look::All)),
        Expr::GetAttr { expr, attr } => {
            let (root, mut path) = value_path(expr)?;
            path.push(attr);
            Some((root, path, Look::All))
        }
        Expr::HasAttr { expr, attrs } => {
            let (root, mut path) = value_path(expr)?;
            path.extend(attrs.iter().map(|attr| &**attr));
            Some((root, path, Look::Presence))
        }
        _ => None,
    }
}

/// The path of an attribute whose value is looked at, from its variable on: `["context", "call", "hour"]`.
pub(crate) fn path_of(expression: &Expr) -> Option<Vec<&str>> {
    let (root, path) = value_path(expression)?;
    let root = match root {
        Var::Principal => "principal",
        Var::Action => "action",
        Var::Resource => "resource",
        Var::Context => "context",
    };
    Some(std::iter::once(root).chain(path).collect())
}

fn value_path(expression: &Expr) -> Option<(Var, Vec<&str>)> {
    match access(expression)? {
        (root, path, Look::All) => Some((root, path)),
        (_, _, Look::Presence) => None,
    }
}

/// The operands of an expression; `None` for one that this code doesn't know.
pub(crate) fn children(expression: &Expr) -> Option<Vec<&Expr>> {
    Some(match expression {
        Expr::Literal(_) | Expr::Var(_) | Expr::Slot(_) => Vec::new(),
        Expr::UnaryOp { expr, .. } | Expr::GetAttr { expr, .. } | Expr::HasAttr { expr, .. } | Expr::Like { expr, .. } => {
            vec![expr]
        }
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => std::iter::once(expr).chain(in_expr).map(AsRef::as_ref).collect(),
        Expr::IfThenElse { cond, then_expr, else_expr } => vec![cond, then_expr, else_expr],
        Expr::Set(elements) => elements.iter().map(AsRef::as_ref).collect(),
        Expr::Record(fields) => fields.values().map(AsRef::as_ref).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use cedar_policy::Policy;
    use cedar_policy::pst::Var;

    use super::{Reads, Want, presence_checks};

    fn reads(conditions: &str) -> Reads {
        let text = format!("permit (principal, action, resource) {conditions};");
        let rule = Policy::parse(None, text).unwrap().to_pst().unwrap();
        let mut reads = Reads::default();
        reads.add_rule(rule.body());
        reads
    }

    fn fields<const N: usize>(list: [(&str, Want); N]) -> Want {
        Want::Fields(list.into_iter().map(|(name, want)| (name.to_owned(), want)).collect())
    }

    #[test]
    fn what_no_condition_mentions_is_not_read() {
        let none = reads("when { principal.ceiling > 2 } unless { resource.environment == \"prod\" }");
        assert_eq!(none, Reads::default());
        assert!(!none.context());
        assert!(!none.action());
        assert_eq!(none.input(), &Want::Nothing);
        assert_eq!(none.call(), &Want::Nothing);
    }

    #[test]
    fn paths_are_found_under_every_operator() {
        let all = || Want::Everything;
        for condition in [
            "context.call.x == 1",
            "1 == context.call.x",
            "!context.call.x",
            "-context.call.x > 2",
            "context.call.x like \"a*\"",
            "context.call.x is Foo",
            "principal in context.call.x",
            "principal is Foo in context.call.x",
            "if context.call.x then 1 else 2",
            "if 1 == 1 then context.call.x else 2",
            "if 1 == 1 then 2 else context.call.x",
            "[1, context.call.x].contains(2)",
            "{ \"a\": context.call.x }.a",
            "context[\"call\"][\"x\"].contains(5)",
            "decimal(\"1.0\").lessThan(context.call.x)",
            "principal.hasTag(context.call.x)",
        ] {
            let found = reads(&format!("when {{ {condition} }}"));
            assert_eq!(found.call(), &fields([("x", all())]), "{condition}");
            assert_eq!(found.input(), &Want::Nothing, "{condition}");
            let unless = reads(&format!("unless {{ {condition} }}"));
            assert_eq!(unless, found, "{condition}");
        }
    }

    #[test]
    fn presence_is_less_than_the_value() {
        let presence = Want::Fields(BTreeMap::new());
        let has = reads("when { context.input has to }");
        assert_eq!(has.input(), &fields([("to", presence.clone())]));
        let deep = reads("when { context.input has to.zip }");
        assert_eq!(deep.input(), &fields([("to", fields([("zip", presence)]))]));
        let both = reads("when { context.input has to && context.input.to.zip == 5 }");
        assert_eq!(both.input(), &fields([("to", fields([("zip", Want::Everything)]))]));
        let turned = reads("when { context.input.to.zip == 5 && context.input has to }");
        assert_eq!(turned, both);
        let whole = reads("when { context.input has to && context.input.to == {} && context.input has to.zip }");
        assert_eq!(whole.input(), &fields([("to", Want::Everything)]));
        assert_eq!(whole.input().field("to").field("zip"), &Want::Everything);
        assert_eq!(whole.input().field("from"), &Want::Nothing);
    }

    #[test]
    fn a_bare_variable_is_read_whole() {
        let whole = reads("when { context == {} }");
        assert_eq!((whole.input(), whole.call()), (&Want::Everything, &Want::Everything));
        let input = reads("when { (if true then context.input else context.input).a == 1 }");
        assert_eq!((input.input(), input.call()), (&Want::Everything, &Want::Nothing));
    }

    #[test]
    fn mentions_of_the_action_are_found() {
        let action = reads("when { action in Action::\"read\" }");
        assert!(action.action());
        assert!(!action.context());
    }

    #[test]
    fn presence_checks_are_listed_wherever_they_are() {
        let text = "forbid (principal, action, resource) when { true && context.input has a.b }
            unless { !(principal has x) || [context.input.y has z].contains(true) };";
        let rule = Policy::parse(None, text).unwrap().to_pst().unwrap();
        let mut found = presence_checks(rule.body());
        found.sort_by_key(|(_, path)| path.clone());
        let path = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                (Var::Context, path(&["input", "a", "b"])),
                (Var::Context, path(&["input", "y", "z"])),
                (Var::Principal, path(&["x"])),
            ]
        );
    }
}
