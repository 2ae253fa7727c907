//! Proofs about policies: that one bundle lets go nothing that another does not, over all requests that there can be. Cedar's own symbolic
//! compiler (`cedar-policy-symcc`) makes a question for the solver cvc5, which has to be installed; nothing here is on the way of a call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bailiwick_policy::{Dispute, Probe, Turn};
use cedar_policy::{Policy, PolicySet};
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env};

/// The longest that one question may take, where nothing else is said.
pub const LONGEST: Duration = Duration::from_secs(10);

/// The most rules of one tool that a question is made of: more would take longer than anybody waits.
const MOST_RULES: usize = 500;

/// The program `cvc5`, as `CVC5` or else `PATH` say where it is.
#[derive(Clone, Debug)]
pub struct Solver {
    program: PathBuf,
    longest: Duration,
}

/// What a solver says about a dispute.
#[derive(Clone, Debug)]
pub enum Answer {
    /// No request is decided otherwise in this direction.
    Proved,
    /// There is one.
    Found {
        /// As one that a gateway could get; none where it can't be put that way.
        probe: Option<Box<Probe>>,
        /// As the solver has it.
        text: String,
    },
    /// It could not be settled; why, in words for an operator.
    Open(String),
}

impl Solver {
    /// The solver that is installed here, if one is.
    pub fn find() -> Option<Self> {
        let named = std::env::var_os("CVC5").map(PathBuf::from);
        let on_path =
            || std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("cvc5")).find(|at| at.is_file());
        named.or_else(on_path).map(Self::at)
    }

    /// The one at this place.
    pub const fn at(program: PathBuf) -> Self {
        Self { program, longest: LONGEST }
    }

    /// The same with less patience.
    #[must_use]
    pub fn within(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether the newer rules widen (or narrow) what the older ones let go: whether there is a request, of any grant with any approvals, that
    /// one side lets go and the other does not. Takes [`LONGEST`] at most, where nothing else was said.
    pub async fn settle(&self, dispute: &Dispute, turn: Turn) -> Answer {
        if let Some(rule) = dispute.demands(turn) {
            return Answer::Open(format!("`{rule}` demands more than a yes, and differs"));
        }
        if dispute.sides.iter().any(|side| side.policies().count() > MOST_RULES) {
            return Answer::Open(format!("more than {MOST_RULES} rules matter to it"));
        }
        let asked = tokio::time::timeout(self.longest, self.ask(dispute, turn));
        match asked.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Answer::Open(why),
            Err(_) => Answer::Open(format!("no answer within {} s", self.longest.as_secs_f32())),
        }
    }

    async fn ask(&self, dispute: &Dispute, turn: Turn) -> Result<Answer, String> {
        let (lets_go, held_against) = match turn {
            Turn::Widens => (1, 0),
            Turn::Narrows => (0, 1),
        };
        let side = |at: usize| dispute.sides.get(at).ok_or("a side is missing");
        let compile = |set: &PolicySet| CompiledPolicySet::compile(set, &dispute.form, &dispute.schema).map_err(|why| told(&why));
        let (wider, narrower) = (compile(side(lets_go)?)?, compile(side(held_against)?)?);
        let mut compiler = self.start()?;
        // A rule that fails denies here, and is passed over by Cedar: only where none does the question is the same.
        let own = dispute.own.get(held_against).into_iter().flatten();
        let rules: Vec<Policy> = own.filter_map(|id| side(held_against).ok()?.policy(id).cloned()).collect();
        for rule in rules {
            let alone = CompiledPolicy::compile(&rule, &dispute.form, &dispute.schema).map_err(|why| told(&why))?;
            if !compiler.check_never_errors_opt(&alone).await.map_err(|why| told(&why))? {
                return Ok(Answer::Open(format!("`{}` can fail, and what fails denies", rule.id())));
            }
        }
        let found = compiler.check_implies_with_counterexample_opt(&wider, &narrower).await.map_err(|why| told(&why))?;
        Ok(found.map_or(Answer::Proved, |Env { request, entities }| {
            let probe = Probe::of_request(&dispute.tool, &request, &entities).map(Box::new);
            let context = request.context().and_then(|context| context.to_json_value().ok());
            Answer::Found { probe, text: context.map(|context| context.to_string()).unwrap_or_default() }
        }))
    }

    /// A process of its own for each question: one that did not come to an end is ended with it.
    fn start(&self) -> Result<CedarSymCompiler<LocalSolver>, String> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["--lang", "smt"]).arg(format!("--tlimit={}", self.longest.as_millis())).env_clear().kill_on_drop(true);
        let cannot = |why: &dyn std::fmt::Display| format!("`{}` can't be started: {why}", self.program.display());
        let solver = LocalSolver::from_command(&mut command).map_err(|why| cannot(&why))?;
        CedarSymCompiler::new(solver).map_err(|why| cannot(&why))
    }
}

/// An error with what is below it, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        words = format!("{words}: {cause}");
        below = cause.source();
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use bailiwick_policy::{Band, Kind, Policies, Source, ToolFacts};
    use serde_json::json;

    use super::*;

    fn compiled(rules: &str) -> Policies {
        let schema = json!({"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]});
        let tool = ToolFacts {
            name: "bank__pay".to_owned(),
            connector: "bank".to_owned(),
            kind: Kind::Write,
            band: Band::Low,
            sends: false,
            input_schema: schema,
        };
        Policies::compile(&[Source { name: "test", text: rules }], &[tool]).unwrap()
    }

    fn dispute(old: &str, new: &str) -> Option<Dispute> {
        compiled(old).dispute(&compiled(new), "bank__pay")
    }

    const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

    /// A program that is no solver.
    fn program(text: &str) -> (tempfile::TempDir, Solver) {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("solver");
        std::fs::write(&at, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o700)).unwrap();
        (folder, Solver::at(at).within(Duration::from_millis(300)))
    }

    #[test]
    fn the_same_rules_are_no_dispute() {
        let rule = format!("{ALL} @id(\"a\") forbid (principal, action, resource) when {{ context.input.amount > 1 }};");
        assert!(dispute(&rule, &rule).is_none());
        assert!(dispute(&rule, ALL).is_some());
        assert!(compiled(ALL).dispute(&compiled(&rule), "bank__nothing").is_none());
    }

    #[tokio::test]
    async fn what_does_not_answer_proves_nothing() {
        let forbids = |least: &str| {
            format!("{ALL} @id(\"a\") forbid (principal, action, resource) when {{ context.input.amount > {least} }};")
        };
        let dispute = dispute(&forbids("1"), &forbids("0")).unwrap();
        let (_gone, refuses) = program("exit 1");
        let (_slow, hangs) = program("exec sleep 60");
        let (_odd, babbles) = program("while read line; do echo unsat-ish; done");
        for (solver, why) in [
            (Solver::at("/nowhere/cvc5".into()), "can't be started"),
            (refuses, ""),
            (hangs, "no answer within 0.3 s"),
            (babbles, "unrecognized"),
        ] {
            let answer = solver.settle(&dispute, Turn::Widens).await;
            assert!(matches!(&answer, Answer::Open(said) if said.contains(why)), "{why}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_demanded_beside_a_yes_is_left_open() {
        let asks = |quorum: &str| {
            format!(
                "{ALL} @id(\"two\") @approval(\"desk\") @quorum(\"{quorum}\") forbid (principal, action, resource) \
                 unless {{ context.call.approvals.contains(\"desk\") }};"
            )
        };
        let fewer = dispute(&asks("2"), &asks("1")).unwrap();
        for turn in [Turn::Widens, Turn::Narrows] {
            assert_eq!(fewer.demands(turn), Some("two"));
            let answer = Solver::at("/nowhere/cvc5".into()).settle(&fewer, turn).await;
            assert!(matches!(&answer, Answer::Open(why) if why.contains("demands more than a yes")), "{answer:?}");
        }
        assert_eq!(dispute(ALL, &asks("2")).unwrap().demands(Turn::Widens), None, "what is demanded more widens nothing");
    }
}
