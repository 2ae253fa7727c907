//! The tickets, and what can happen to them.

/// As many tickets as a demo may hold, and as many events as a ticket.
const LIMIT: usize = 1000;

/// The help desk.
pub(super) struct Desk {
    tickets: Vec<Ticket>,
    refunds: u64,
}

/// One ticket.
pub(super) struct Ticket {
    pub(super) id: String,
    pub(super) subject: String,
    pub(super) status: String,
    pub(super) project: String,
    pub(super) history: Vec<String>,
}

impl Desk {
    /// The same tickets at each start.
    pub(super) fn new() -> Self {
        let tickets = [
            (11, "support", "closed", "Password reset mail never arrives"),
            (12, "support", "open", "App crashes when I open my invoices"),
            (13, "finance", "open", "Invoice 2024-118 has the wrong VAT number"),
            (14, "support", "pending", "Parcel is marked delivered but isn't here"),
            (15, "finance", "pending", "Supplier asks for new bank details"),
            (16, "support", "open", "How do I change my delivery address?"),
            (17, "support", "open", "Charged twice"),
            (18, "finance", "closed", "Quarterly report is missing a page"),
            (19, "finance", "open", "Charged twice for the same licence"),
            (20, "support", "open", "Coupon refused at checkout"),
            (21, "finance", "open", "Payroll export for November"),
        ];
        let tickets = tickets.into_iter().map(|(number, project, status, subject)| Ticket {
            id: format!("T-{number}"),
            subject: subject.to_owned(),
            status: status.to_owned(),
            project: project.to_owned(),
            history: vec!["opened".to_owned()],
        });
        Self { tickets: tickets.collect(), refunds: 0 }
    }

    pub(super) fn ticket(&self, id: &str) -> Result<&Ticket, String> {
        self.tickets.iter().find(|ticket| ticket.id == id).ok_or_else(|| unknown(id))
    }

    pub(super) fn ticket_mut(&mut self, id: &str) -> Result<&mut Ticket, String> {
        self.tickets.iter_mut().find(|ticket| ticket.id == id).ok_or_else(|| unknown(id))
    }

    pub(super) fn of_project(&self, project: &str) -> Result<impl Iterator<Item = &Ticket>, String> {
        known_project(project)?;
        Ok(self.tickets.iter().filter(move |ticket| ticket.project == project))
    }

    pub(super) fn open(&mut self, project: &str, subject: String) -> Result<&Ticket, String> {
        known_project(project)?;
        if self.tickets.len() >= LIMIT {
            return Err("the demo's help desk is full; start it again".to_owned());
        }
        // The first ticket is T-11, and none ever goes away.
        let id = format!("T-{}", self.tickets.len() + 11);
        let history = vec!["opened".to_owned()];
        let (status, project) = ("open".to_owned(), project.to_owned());
        Ok(self.tickets.push_mut(Ticket { id, subject, status, project, history }))
    }

    /// Pays money back, and gives the payment's id.
    pub(super) fn refund(&mut self, id: &str, amount_cents: i64) -> Result<String, String> {
        if !(1..=1_000_000).contains(&amount_cents) {
            return Err(format!("`{amount_cents}` cents can't be refunded; from 1 to 1000000 can"));
        }
        let refund = format!("R-{}", self.refunds + 1);
        self.ticket_mut(id)?.note(format!("refunded {amount_cents} cents as {refund}"))?;
        self.refunds += 1;
        Ok(refund)
    }
}

impl Ticket {
    /// Writes down what happened.
    pub(super) fn note(&mut self, event: String) -> Result<(), String> {
        if self.history.len() >= LIMIT {
            return Err(format!("`{}` has had too much happen to it", self.id));
        }
        self.history.push(event);
        Ok(())
    }
}

fn unknown(id: &str) -> String {
    format!("there is no ticket `{id}`")
}

fn known_project(project: &str) -> Result<(), String> {
    match project {
        "support" | "finance" => Ok(()),
        other => Err(format!("there is no project `{other}`; there are `support` and `finance`")),
    }
}
