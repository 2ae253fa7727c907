//! What `policy diff` proves where a solver is installed: of the tools whose rules differ, which let go nothing more, and nothing less.

use std::time::{Duration, Instant};

use bailiwick_policy::{Changed, ConnectorFacts, Difference, GrantFacts, Policies, Probe, Turn};
use bailiwick_solver::{Answer, Solver};
use serde_json::{Value, json};

/// So long questions are begun; what is not settled by then was sampled only.
const PATIENCE: Duration = Duration::from_mins(2);

/// What was proven of the tools whose rules differ, and what was not.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    /// Whether there is a solver at all.
    has_solver: bool,
    /// Tools and the direction in which nothing changes.
    proved: Vec<(String, Turn)>,
    /// Tools and a direction that is open, with the reason.
    open: Vec<(String, Turn, String)>,
    /// Tools that let go more for a request that no grant here could make: what the solver says of it.
    pub(super) wider: Vec<(String, String)>,
}

/// Asks the solver about each direction of each tool in which sampling found nothing. What it finds is added to the changes.
pub(super) async fn prove(
    sides: [&Policies; 2],
    (grants, connectors): (&[GrantFacts], &[ConnectorFacts]),
    found: &mut Difference,
) -> Proofs {
    let Some(solver) = Solver::find() else { return Proofs::default() };
    let [old, new] = sides;
    let mut proofs = Proofs { has_solver: true, ..Proofs::default() };
    let began = Instant::now();
    for tool in found.tools.clone() {
        let Some(dispute) = old.dispute(new, &tool) else {
            let why = "its arguments make no question for the solver";
            proofs.open.extend([Turn::Widens, Turn::Narrows].map(|turn| (tool.clone(), turn, why.to_owned())));
            continue;
        };
        for turn in [Turn::Widens, Turn::Narrows] {
            if found.changes.iter().any(|change| change.turn == turn && change.example.tool == tool) {
                continue;
            }
            let answer = if began.elapsed() > PATIENCE {
                Answer::Open("there was no time left for it".to_owned())
            } else {
                solver.settle(&dispute, turn).await
            };
            match answer {
                Answer::Proved => proofs.proved.push((tool.clone(), turn)),
                Answer::Open(why) => proofs.open.push((tool.clone(), turn, why)),
                Answer::Found { probe, text } => {
                    let change = probe.and_then(|probe| shown(sides, (grants, connectors), &probe, turn));
                    match (change, turn) {
                        (Some(change), _) => found.changes.push(change),
                        (None, Turn::Widens) => proofs.wider.push((tool.clone(), text)),
                        (None, Turn::Narrows) => {
                            proofs.open.push((tool.clone(), turn, format!("for a request that may never come: {text}")));
                        }
                    }
                }
            }
        }
    }
    found.changes.sort_by(|left, right| (left.turn, &left.example.tool).cmp(&(right.turn, &right.example.tool)));
    proofs
}

/// What the solver made up as a change that is seen: of a grant that there is, and without approvals, where it shows there too.
fn shown(
    [old, new]: [&Policies; 2],
    (grants, connectors): (&[GrantFacts], &[ConnectorFacts]),
    probe: &Probe,
    turn: Turn,
) -> Option<Changed> {
    let of_grants = grants.iter().map(|grant| probe.of_grant(grant)).chain([probe.clone()]);
    let mut tried = of_grants.flat_map(|probe| [probe.unapproved(), probe]);
    tried.find_map(|probe| old.changed(new, &probe, connectors).filter(|change| change.turn == turn))
}

impl Proofs {
    /// In words for a person.
    pub(super) fn summary(&self) -> String {
        if !self.has_solver {
            return "what none of them meets is not found: with the program cvc5 installed, it is proven".to_owned();
        }
        let of = |turn: Turn| self.proved.iter().filter(|(_, proved)| *proved == turn).count();
        let mut said = vec![format!(
            "by solver, over all requests that there can be: {} tools let go nothing more, {} nothing less",
            of(Turn::Widens),
            of(Turn::Narrows)
        )];
        said.extend(
            self.wider.iter().map(|(tool, text)| format!("{tool} lets go more, by the solver, for a request such as {text}")),
        );
        said.extend(self.open.iter().map(|(tool, turn, why)| {
            let less = if *turn == Turn::Widens { "more" } else { "less" };
            format!("not proven of {tool}, that it lets go nothing {less}: {why}")
        }));
        said.join("\n")
    }

    /// As rows beside those of the changes.
    pub(super) fn as_json(&self) -> Vec<Value> {
        let word = |turn: &Turn| match turn {
            Turn::Widens => "widens",
            Turn::Narrows => "narrows",
        };
        let proved = self
            .proved
            .iter()
            .map(|(tool, turn)| json!({"id": tool, "state": "proved", "never": word(turn), "method": "solver"}));
        let open = self.open.iter().map(
            |(tool, turn, why)| json!({"id": tool, "state": "open", "never": word(turn), "reason": why, "method": "solver"}),
        );
        let wider =
            self.wider.iter().map(|(tool, text)| json!({"id": tool, "state": "widens", "request": text, "method": "solver"}));
        proved.chain(open).chain(wider).collect()
    }
}
