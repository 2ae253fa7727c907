//! `approvals habits`

use bailiwick_store::Habits;

use super::{
    Session,
    args::Json,
    fault::CliFault,
    screen::{Table, shown},
};

/// Shows how people decide, and what could be changed instead of one more yes.
pub(super) async fn habits(form: Json, session: &Session) -> Result<(), CliFault> {
    let habits: Habits = session.client().await?.get("habits").await?;
    if form.json {
        return session.one(&habits, true, String::new);
    }
    session.list(&habits.habits, false, || table(&habits), "nobody was asked anything in the last three days")?;
    let median = habits.median_ms.map_or_else(String::new, |ms| format!(", half of them within {} s", ms.div_ceil(1000)));
    session.screen.tell(&format!(
        "{} asked: {} approved ({} of them within 3 s), {} denied, {} unanswered{median}",
        habits.asked, habits.approved, habits.quick, habits.denied, habits.unanswered
    ));
    for warning in &habits.warnings {
        session.screen.tell(&format!("warning: {}", shown(warning)));
    }
    for suggestion in habits.habits.iter().filter_map(|habit| habit.suggestion.as_deref()) {
        session.screen.tell(&format!("suggestion: {}", shown(suggestion)));
    }
    Ok(())
}

fn table(habits: &Habits) -> Table {
    let mut table = Table::new(&["RULE", "AGENT", "TOOL", "ASKED", "APPROVED", "DENIED"]);
    for habit in &habits.habits {
        let [asked, approved, denied] = [habit.asked, habit.approved, habit.denied].map(|count| count.to_string());
        table.row([&habit.rule, &habit.agent, &habit.tool, &asked, &approved, &denied]);
    }
    table
}
