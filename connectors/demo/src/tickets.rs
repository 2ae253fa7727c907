//! `tickets`: a help desk with two projects. The one demo connector that needs a credential.

mod desk;

use std::sync::Mutex;

use rmcp::{
    ServerHandler,
    handler::server::{
        router::tool::ToolRouter,
        wrapper::{Json, Parameters},
    },
    model::{ServerConfig, Tool},
    tool, tool_handler, tool_router,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    served::{introduction, lock},
    tickets::desk::{Desk, Ticket},
};

/// The server.
pub(crate) struct Tickets {
    desk: Mutex<Desk>,
    token_length: i64,
    router: ToolRouter<Self>,
}

impl Tickets {
    /// A fresh help desk. `token_length` is the length of the credential it was lent, in bytes.
    pub(crate) fn new(token_length: i64) -> Self {
        Self { desk: Mutex::new(Desk::new()), token_length, router: Self::tool_router() }
    }

    /// Its tools, as they are listed.
    pub(crate) fn tools() -> Vec<Tool> {
        Self::tool_router().list_all()
    }
}

#[tool_router]
impl Tickets {
    #[tool(
        description = "Read one ticket: its subject and status.",
        annotations(title = "Get ticket", read_only_hint = true, open_world_hint = false)
    )]
    fn get(&self, Parameters(One { id }): Parameters<One>) -> Result<Json<Summary>, String> {
        Ok(Json(Summary::of(lock(&self.desk).ticket(&id)?)))
    }

    #[tool(
        description = "Find the tickets of a project whose subject contains a text, whatever its case.",
        annotations(title = "Search tickets", read_only_hint = true, open_world_hint = false)
    )]
    fn search(&self, Parameters(Search { project, text }): Parameters<Search>) -> Result<Json<Summaries>, String> {
        let (desk, text) = (lock(&self.desk), text.to_lowercase());
        let matching = desk.of_project(&project)?.filter(|ticket| ticket.subject.to_lowercase().contains(&text));
        Ok(Json(Summaries { tickets: matching.map(Summary::of).collect() }))
    }

    #[tool(
        description = "List the tickets of a project that have a status.",
        annotations(title = "List tickets", read_only_hint = true, open_world_hint = false)
    )]
    fn list(&self, Parameters(List { project, status }): Parameters<List>) -> Result<Json<Summaries>, String> {
        let desk = lock(&self.desk);
        let matching = desk.of_project(&project)?.filter(|ticket| ticket.status == status);
        Ok(Json(Summaries { tickets: matching.map(Summary::of).collect() }))
    }

    #[tool(
        description = "Read what has happened to a ticket, oldest first, comments included.",
        annotations(title = "Ticket history", read_only_hint = true, open_world_hint = false)
    )]
    fn history(&self, Parameters(One { id }): Parameters<One>) -> Result<Json<History>, String> {
        let desk = lock(&self.desk);
        let ticket = desk.ticket(&id)?;
        Ok(Json(History { id, events: ticket.history.clone() }))
    }

    #[tool(
        description = "Open a new ticket in a project.",
        annotations(title = "Create ticket", read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    fn create(&self, Parameters(Create { project, subject }): Parameters<Create>) -> Result<Json<Summary>, String> {
        Ok(Json(Summary::of(lock(&self.desk).open(&project, subject)?)))
    }

    #[tool(
        description = "Add an internal comment to a ticket. The customer doesn't see it.",
        annotations(title = "Comment", read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    fn comment(&self, Parameters(Words { id, text }): Parameters<Words>) -> Result<Json<Summary>, String> {
        self.note(&id, format!("comment: {text}"))
    }

    #[tool(
        description = "Send the customer of a ticket a message. It leaves the house and can't be taken back.",
        annotations(title = "Reply to customer", read_only_hint = false, destructive_hint = true, open_world_hint = true)
    )]
    fn reply(&self, Parameters(Words { id, text }): Parameters<Words>) -> Result<Json<Summary>, String> {
        self.note(&id, format!("reply to the customer: {text}"))
    }

    #[tool(
        description = "Make somebody responsible for a ticket.",
        annotations(
            title = "Assign ticket",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn assign(&self, Parameters(Assign { id, assignee }): Parameters<Assign>) -> Result<Json<Summary>, String> {
        self.note(&id, format!("assigned to {assignee}"))
    }

    #[tool(
        description = "Change the status of a ticket.",
        annotations(
            title = "Set status",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn set_status(&self, Parameters(SetStatus { id, status }): Parameters<SetStatus>) -> Result<Json<Summary>, String> {
        let mut desk = lock(&self.desk);
        let ticket = desk.ticket_mut(&id)?;
        ticket.note(format!("status: {status}"))?;
        ticket.status = status;
        Ok(Json(Summary::of(ticket)))
    }

    #[tool(
        description = "Close a ticket as a duplicate of another one. Can't be undone.",
        annotations(title = "Merge tickets", read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    fn merge(&self, Parameters(Merge { id, into }): Parameters<Merge>) -> Result<Json<Summary>, String> {
        let mut desk = lock(&self.desk);
        if id == into {
            return Err(format!("`{id}` can't be merged into itself"));
        }
        desk.ticket_mut(&into)?.note(format!("{id} was merged into this"))?;
        let ticket = desk.ticket_mut(&id)?;
        ticket.note(format!("merged into {into}"))?;
        "closed".clone_into(&mut ticket.status);
        Ok(Json(Summary::of(ticket)))
    }

    #[tool(
        description = "Pay money back to the customer of a ticket. Each call is a new payment.",
        annotations(
            title = "Refund",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    fn refund(&self, Parameters(Refund { id, amount_cents }): Parameters<Refund>) -> Result<Json<Refunded>, String> {
        let refund = lock(&self.desk).refund(&id, amount_cents)?;
        Ok(Json(Refunded { refund, id, amount_cents }))
    }

    #[tool(
        description = "Tell which credential this connector was lent: its variable and its length, never its value.",
        annotations(title = "Who am I", read_only_hint = true, open_world_hint = false)
    )]
    fn whoami(&self, Parameters(Nothing {}): Parameters<Nothing>) -> Json<Credential> {
        Json(Credential { variable: crate::TICKETS_TOKEN.to_owned(), length: self.token_length })
    }
}

impl Tickets {
    fn note(&self, id: &str, event: String) -> Result<Json<Summary>, String> {
        let mut desk = lock(&self.desk);
        let ticket = desk.ticket_mut(id)?;
        ticket.note(event)?;
        Ok(Json(Summary::of(ticket)))
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Tickets {
    fn get_info(&self) -> ServerConfig {
        introduction("tickets", "A help desk with the projects `support` and `finance`. Amounts are in cents.")
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct One {
    /// The ticket's id, such as `T-17`.
    #[schemars(regex(pattern = "^T-[0-9]{1,6}$"))]
    id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// The project to search in.
    #[schemars(extend("enum" = ["support", "finance"]))]
    project: String,
    /// What the subject contains; empty for every ticket.
    #[schemars(length(max = 200))]
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// The project to list.
    #[schemars(extend("enum" = ["support", "finance"]))]
    project: String,
    /// The status the tickets have.
    #[schemars(extend("enum" = ["open", "pending", "closed"]))]
    status: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    /// The project the ticket belongs to.
    #[schemars(extend("enum" = ["support", "finance"]))]
    project: String,
    /// What it is about, in one line.
    #[schemars(length(min = 1, max = 200))]
    subject: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Words {
    /// The ticket's id, such as `T-17`.
    #[schemars(regex(pattern = "^T-[0-9]{1,6}$"))]
    id: String,
    /// The words.
    #[schemars(length(min = 1, max = 4000))]
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Assign {
    /// The ticket's id, such as `T-17`.
    #[schemars(regex(pattern = "^T-[0-9]{1,6}$"))]
    id: String,
    /// Who is responsible from now on: a mail address.
    #[schemars(length(min = 3, max = 200))]
    assignee: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetStatus {
    /// The ticket's id, such as `T-17`.
    #[schemars(regex(pattern = "^T-[0-9]{1,6}$"))]
    id: String,
    /// The new status.
    #[schemars(extend("enum" = ["open", "pending", "closed"]))]
    status: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Merge {
    /// The duplicate, which is closed.
    #[schemars(regex(pattern = "^T-[0-9]{1,6}$"))]
    id: String,
    /// The ticket that stays.
    #[schemars(regex(pattern = "^T-[0-9]{1,6}$"))]
    into: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Refund {
    /// The ticket's id, such as `T-17`.
    #[schemars(regex(pattern = "^T-[0-9]{1,6}$"))]
    id: String,
    /// How much to pay back, in cents.
    #[schemars(range(min = 1, max = 1_000_000))]
    amount_cents: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Summary {
    id: String,
    subject: String,
    status: String,
}

impl Summary {
    fn of(ticket: &Ticket) -> Self {
        Self { id: ticket.id.clone(), subject: ticket.subject.clone(), status: ticket.status.clone() }
    }
}

#[derive(Serialize, JsonSchema)]
struct Summaries {
    tickets: Vec<Summary>,
}

#[derive(Serialize, JsonSchema)]
struct History {
    id: String,
    events: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Refunded {
    /// The payment, counting up: `R-1`.
    refund: String,
    id: String,
    amount_cents: i64,
}

#[derive(Serialize, JsonSchema)]
struct Credential {
    /// The variable it came in.
    variable: String,
    /// Its length in bytes.
    length: i64,
}
