"""What takes each gate off its hinges: for every gate the edits that make it let everything pass, and for each of its single
checks the edits that drop this one alone.

An edit is (old text, new text); the old text must stand exactly once in the gate's file. Where a line of a gate changes, its
edit here changes with it: `run` says so. The same for what is no gate, and would be decoration just as well: `ELSEWHERE`.
"""

GATES = "gateway/pipeline/src/gates"

ANYBODY = """.unwrap_or_else(|_| Principal {
            agent: std::sync::Arc::new(crate::principal::Agent {
                id: "bot".parse().expect("an id"),
                owner: "owner@example.com".to_owned(),
                ceiling: bailiwick_policy::Band::High,
                disabled: false,
            }),
            instance: None,
            method: crate::principal::AuthMethod::AgentToken,
            grant: None,
        });"""

# Gate, in the order of the way -> (the modules of `tests/gates` that are its tests, {check: edits}).
OPENINGS = {
    "identify": (["gate_identify"], {
        "credential": [(".map_err(|failure| Refusal::unauthenticated(&failure))?;", ANYBODY)],
        "disabled": [("if principal.agent.disabled {", "if false {")],
    }),
    "grant": (["gate_grant", "items", "listing", "names", "tasks", "requests"], {
        "task": [("if !task.is_of(&Of::this(grant, tool)) {", "if false {")],
        "items": [("Some(tool) if is_given(holder) =>", "Some(tool) =>")],
        "visible": [("let could = |grant: &LiveGrant| {", "if true { return true; }\n    let could = |grant: &LiveGrant| {")],
        "owner": [("grant.terms().agent == principal.agent.id", "true")],
        "live": [
            ("filter(|grant| grant.is_live(now_ms))", "filter(|_| true)"),
            ("if !grant.is_live(now_ms) {", "if false {"),
        ],
    }),
    "offer": (["items", "features"], {
        "meanwhile": [("is_as_before(tool, &world, &now) && visible(&now, grant, agent, tool)", "{ let _ = (&now, is_as_before as fn(&Tool, &World, &World) -> bool); true }")],
        "end": [("() = grant.cancelled().cancelled() =>", "() = std::future::pending::<()>() =>")],
        "given": [("if !is_given(grant, tool, listing, offer) {", "if false {")],
        "secret": [("if [&telling, &telling_others].into_iter().any(|tell| tell.get(at).copied().unwrap_or_default()) {", "if false {")],
        "names": [("if meant.name != tool.name || own != offer.id {", "if false {")],
    }),
    "search": (["search"], {
        "has": [("if !own.is_of(&grant, &ports.worlds.now()) {", "if false {")],
        "schema": [("own.check(&arguments)?;", "")],
        "answers": [("if received.answers().is_some() || received.waited().is_some() {", "if false {")],
        "described": [("let Some(tool) = tools.called(name) else {", "let Some(tool) = world.called(name) else {")],
        "found": [(
            "let tools = list(&world, &call.grant, &call.agent, &ports.halts).await?;",
            "let _ = list(&world, &call.grant, &call.agent, &ports.halts).await?;\n    "
            "let tools = Arc::new(ToolList::new(world.tools().cloned().collect(), &world, call.grant.terms()));",
        )],
        "end": [("if call.grant.cancelled().is_cancelled() {", "if false {")],
        "depends": [("is_none_or(|reads| reads.arguments() || reads_destination(reads))", "is_none_or(|reads| { let _ = reads_destination(reads); false })")],
    }),
    "request": (["requests"], {
        "names": [(".filter(|name| name.tool().is_some())", "")],
        "words": [("if reason.trim().is_empty() || reason.chars().any(|c| matches!(c, '\\n' | '\\t') || is_invisible(c)) {", "let _ = is_invisible;\n    if false {")],
        "taken": [("ports.requests.request(wanted).await.map_err(|failure| Refusal::request_not_taken(&failure))?", "ports.requests.request(wanted).await.unwrap_or(crate::ports::AccessTicket { id: \"req-1\".parse().map_err(|_| Refusal::internal(\"\"))?, state: AccessState::Pending })")],
    }),
    "keep": (["gate_keep"], {
        "arguments": [("kept.map_err(|why| Refusal::not_kept(&why))?;", "let _ = kept;")],
        "result": [("kept.map_err(|why| Refusal::result_not_kept(&why))?;", "let _ = kept;")],
    }),
    "kept": (["owed"], {
        "needs": [("kept.take(granted.grant(), granted.tool(), exactly, &way.seen.needs)", "kept.take(granted.grant(), granted.tool(), exactly, &Default::default())")],
    }),
    "asks": (["asks", "waiting"], {
        "granted": [("declared.iter().filter(|(feature, _)| given(*feature))", "declared.iter().filter(|_| { let _ = &given; true })")],
        "bounded": [("|| is_bounded(call) {", "|| false {")],
        "call": [("if round.of != Of::this(call, arguments) {", "if false {")],
        "form": [("form_answer(response, schema).map(Some)", "{ let _ = schema; Ok(Some(response.clone())) }")],
        "secret": [("if is_secretive(message) {", "if false {")],
        "words": [("if words.iter().any(|text| is_secretive(text)) {", "if false {")],
        "page": [("Some(host) if is_fit && text.len() <= WORDS && hosts.contains(&host) =>", "Some(_) =>")],
        "policy": [("_ => Err(format!(\"no policy lets it ask by `{name}`\")),", "_ => Ok(()),")],
        "world": [("if !Arc::ptr_eq(&ports.worlds.now(), world) {", "if false {")],
    }),
    "pace": (["gate_pace", "features"], {
        "task": [(".find(|grant| !grant.admits_now(now_ns))", ".find(|_| { let _ = now_ns; false })")],
        "connector": [("if !is_in_pace(connector, ports) {", "if false {")],
    }),
    "validate": (["gate_validate"], {
        "schema": [("call.tool().input.check(&arguments).map_err(|places| Refusal::invalid_arguments(&places, keeps_back))?;", "")],
        "headers": [("mirrored(&call, &arguments)?;", "")],
        "bounds": [("within(grant, &call, &arguments)?;", "let _ = grant;")],
    }),
    "permit": (["gate_permit"], {
        "deny": [("return Err(Refusal::denied(determining, cause));", "let _ = cause;\n            (Vec::new(), determining, &*Box::leak(Box::<Obligations>::default()))")],
    }),
    "detect": (["gate_detect"], {
        "deny": [("if let Some((rule, found)) = self.fired(Act::Deny).next() {", "if let Some((rule, found)) = self.fired(Act::Deny).next().filter(|_| false) {")],
        "step up": [("if needs.is_empty() {", "if true {")],
        "commit": [("if is_over && !may_be_over() {", "if is_over && !may_be_over() && false {")],
        "refused before": [("    if became == Became::Refused\n", "    if false && became == Became::Refused\n")],
        "agents": [("over = over.max(over_window(rule, &mut sums, amount, now_ms));", "over = over.max(over_window(rule, &mut sums, 0, 0));")],
    }),
    "approve": (["gate_approve", "gate_watch", "deferred"], {
        "watch": [("if call.validated().granted().identified().received().is_watch() {", "if false {")],
        "asked twice": [("None if way.deferred().is_some() =>", "None if false =>")],
        "needs": [("if call.needs().is_empty() {", "if true {")],
        "denied": [("TicketState::Approved => {", "TicketState::Approved | TicketState::Denied { .. } => {")],
        "pending": [("TicketState::Approved => {", "TicketState::Approved | TicketState::Pending => {")],
        "bytes": [("if !says(&arguments, &binding.args_digest, &call, ports) {", "if false {")],
    }),
    "arm": (["gate_arm"], {
        "lend": [("lent.map_err(|failure| Refusal::lend(&failure))?", "lent.unwrap_or(None)")],
        "lent none": [("if tool.connector.needs_credential && loan.is_none() {", "if false {")],
        "end": [("() = grant.cancelled().cancelled() =>", "() = std::future::pending::<()>() =>")],
        "secret": [("Lease::kept_out(lease.as_deref(), &failure.to_string())", "failure.to_string()")],
    }),
    "halted": (["halts"], {
        "caller": [("refuse(&Subject { principal: Some(principal), ..Subject::default() }, ports)", "{ let _ = (principal, ports); Ok(()) }")],
        "above": [("refuse(&Subject { grant: Some(grant), ..Subject::default() }, ports)", "{ let _ = (grant, ports); Ok(()) }")],
        "tool": [("refuse(&Subject { tool: Some(&tool.name), ..Subject::default() }, ports)", "{ let _ = (tool, ports); Ok(()) }")],
        "door": [("Err(halt) => Err(Refusal::halted_under_way(&halt, \"Not executed.\")),",
                  "Err(_) => { let nothing = Arc::new(crate::halts::Halts::default()); let (flight, writing) = "
                  "nothing.enter(principal, grant, tool).map_err(|_| Refusal::internal(\"\"))?; Ok((pass.in_flight(writing), flight)) }")],
        "waiting": [("ports.halts.reached(&Subject { principal: principal.as_ref(), grant: grant.as_deref(), tool }).await;",
                     "let _ = (principal, grant, tool, ports); std::future::pending::<()>().await;")],
    }),
    "record": (["gate_record", "gate_screen", "tasks", "halts", "requests"], {
        "halts": [("if let Some(halt) = halted::of(granted, ports) {\n        return Err(Refusal::halted(&halt).into());",
                   "if let Some(halt) = None::<crate::halts::Halt> {\n        return Err(Refusal::halted(&halt).into());")],
        "answers": [("&& !task::claim(task, &answered.responses)", "&& false")],
        "live": [("still_live(grant, standing, now_ms)?;", "let _ = (grant, standing);")],
        "epochs": [("!Arc::ptr_eq(&ports.worlds.now(), granted.world())", "false")],
        "standing": [("|| has_moved(call, locked.last().map(|own| Moment::at(**own, now_ms)))", "|| false")],
        "minute": [("has_counted || now.minute != then.minute", "has_counted")],
        "claims kept": [("ports.approvals.keep_claim(id, of, now_ms);", "let _ = (id, of);")],
        "extensions": [("granted.grant().chain_revision() != granted.revision()", "false && granted.revision() == 0")],
        "time of extensions": [("|| granted.grant().has_over(now_ms) {", "|| { let _ = now_ms; false } {")],
        "budget": [("grant.has_room(standing, &spend);\n            room.map_err(|full| Refusal::budget(&grant.terms().id, &full.what, full.limit))?;",
             "grant.has_room(standing, &spend);\n            let _ = room;")],
        "claim": [("if !ports.approvals.claim(approval, now_ms) {", "if false {")],
        "disk": [("if has_effect {", "if false {")],
        "debit": [("grant.debit(standing, &spend);", "let _ = &spend;")],
        "labels": [("standing.labels.join(flow::known(permitted.validated()))", "standing.labels")],
        "labels of grants made meanwhile": [("had not put them on this one.\n    flow::touch_others(granted.grant(), labels, ports);", "")],
        "sender": [("if !is_still_proven(granted.identified(), ports).await {", "if false {")],
        "sender after the disk": [("if !is_proven {", "if false {")],
    }),
    "flow": (["flow", "gate_screen"], {
        "labels of its other grants": [("other.touch(labels);", "let _ = other;")],
        "record": [("on_record(grant, tool, labels, ports, way)?;", "let _ = on_record(grant, tool, labels, ports, way);")],
        "task": [("grant.touch(labels);\n    touch_others", "touch_others")],
        "asked for": [("uri.map_or(Labels::NONE, |uri| tool.labels_of_item(uri))", "uri.map_or(Labels::NONE, |_| Labels::NONE)")],
        "unknown": [("_ => return join(granted, marks.of_unknown(), ports, way),", "_ => return Ok(()),")],
        "before the result": [("Some(marks) => join(granted, marks.of_unknown(), ports, way),", "Some(_) => Ok(()),")],
        "classes": [("grant.terms().may_touch(labels)", "{ let _ = grant; true }")],
    }),
    "send": (["gate_send", "asks", "waiting", "halts"], {
        "pass": [
            ("let (pass, flight) = halted::let_out(granted.identified().principal(), grant, Some(tool), ports)?;",
             "let pass = grant.enter();\n    let entered = ports.halts.enter(granted.identified().principal(), grant, Some(tool));\n    "
             "let (flight, _) = entered.map_err(|_| Refusal::internal(\"\"))?;"),
            ("pass: Some(pass),", "pass,"),
            ("&answered.responses), Some(pass), again);", "&answered.responses), pass, again);"),
        ],
        "end": [("let cancelled = grant.cancelled();", "let cancelled = CancellationToken::new();")],
        "halt": [("halt = flight.struck() =>", "halt = std::future::pending::<crate::halts::Halt>() =>")],
        "deadline": [("tokio::time::timeout(timeout, going.answered(&approved, lease.as_ref(), ports, way))",
                      "async { Ok::<_, tokio::time::error::Elapsed>(going.answered(&approved, lease.as_ref(), ports, way).await) }")],
        "approved": [(".filter(|takes| !takes.is_empty() && !approved.is_by_person());", ".filter(|takes| !takes.is_empty());")],
        "secret": [("Lease::kept_out(lease.as_deref(), &failure.to_string())", "failure.to_string()")],
    }),
    "watch": (["gate_watch"], {
        "pass": [
            ("let (pass, flight) = halted::let_out(granted.identified().principal(), &grant, Some(tool), ports)?;",
             "let pass: Option<SendPass> = None;\n    let entered = ports.halts.enter(granted.identified().principal(), &grant, Some(tool));\n    "
             "let (flight, _) = entered.map_err(|_| Refusal::internal(\"\"))?;"),
            ("pass: Some(pass),", "pass,"),
        ],
        "end": [("() = grant.cancelled().cancelled() =>", "() = std::future::pending::<()>() =>")],
        "deadline": [("tokio::time::timeout(timeout, channel.watch(watching))", "async { Ok::<_, tokio::time::error::Elapsed>(channel.watch(watching).await) }")],
        "secret": [("Lease::kept_out(lease.as_deref(), &failure.to_string())", "failure.to_string()")],
        "screen": [("screen_refusal((code, &message, data.as_ref()), &approved, lease.as_ref(), ports, way)", "screen_refusal((code, &message, data.as_ref()), &approved, None, ports, way)")],
    }),
    "relay": (["asides", "waiting"], {
        "secret": [("without_secret(params, needles, Some(said), &mut redactions).ok()", "Some(None::<Bytes>)")],
        "end": [("let may_hear = !grant.cancelled().is_cancelled()", "let may_hear = { let _ = grant; true }")],
        "room": [("let judged = clean.filter(has_room)", "let _ = has_room;\n        let judged = clean")],
        "subscriptions": [(".filter(|outline| !is_of_subscription(outline))", "")],
        "token": [('if key == "progressToken" { token.to_owned() } else { value }', "{ let _ = (key, token); value }")],
        "rising": [("|| last.is_some_and(|last| progress <= last)", "|| { let _ = last; false }")],
        "level": [("|| level < wants.level?", "|| { let _ = (level, wants.level?); false }")],
    }),
    "screen": (["gate_screen", "redaction", "halts"], {
        "moment of an end": [("if granted.grant().cancelled().is_cancelled() {", "if false {")],
        "moment of a halt": [("if let Some(halt) = flight.halt() {", "if let Some(halt) = None::<crate::halts::Halt> {\n        let _ = flight.halt();")],
        "results": [("screen_result(&text, &approved, &mut taking, ports, &mut cleaner)",
                     "Ok(Reply { body: Body::Result(ToolResult::read(&text).unwrap_or_default()), outcome: Outcome::Success })")],
        "redaction": [("needles: lease.map(Lease::needles), limits, seen: 0", "needles: lease.map(Lease::needles).filter(|_| false), limits, seen: 0")],
        "caps": [("let ScreenLimits { bytes, depth, .. } = limits;", "let _ = limits;\n    let (bytes, depth) = (usize::MAX, 100_000);"),
                 ("if blocks.count > limits.blocks {", "if false {")],
        "output schema": [("check_structured(outline.member(\"structuredContent\"), outcome == Outcome::ToolError, tool)?;", "")],
        "errors": [
            ("cleaner.clean_error(code, message, data)?", "(message.to_owned(), data.cloned())"),
        ],
    }),
    "others": (["redaction", "asides"], {
        "lent": [("let lent = ports.credentials.lent(grant).into_iter().filter(|(_, lease)| !shown.has(lease));", "let _ = (grant, ports);\n        let lent = std::iter::empty::<(ConnectorId, Arc<Lease>)>();")],
        "shown": [("way.seen.shown.add(connector, lease);", "")],
    }),
    "status": (["status"], {
        "whose": [("let stands = ports.approvals.stands(handle, agent, grant, now_ms).ok_or_else(|| Refusal::unknown_approval(handle))?;",
                   'let Some(stands) = ports.approvals.stands(handle, agent, grant, now_ms) else {\n        return told(&json!({"approval": handle, "state": "pending"}), ports, way);\n    };')],
    }),
    "task": (["tasks", "deferred"], {
        "another": [("if id_of(outline) != task.remote_id() {", "if false {")],
        "result": [("judge_tool(&result, &outline, granted.tool(), granted.world(), limits)?",
                    "{ let _ = judge_tool as fn(&Bytes, &Outline<'_>, &crate::catalogue::Tool, &crate::catalogue::World, ScreenLimits) -> Result<Reply, String>; Reply { body: Body::Result(ToolResult::new(&result, &outline)), outcome: Outcome::Success } }")],
        "error": [("screen_error((code, &message, data.as_ref()), asked, &mut Cleaner::of_clean(limits))?",
                   "{ let _ = (asked, limits, screen_error, Cleaner::of_clean); Reply { body: Body::Error { code, message, data, http: 200 }, outcome: Outcome::DownstreamError } }")],
        "person": [("if gives_up || needs.is_subset(&remote.needs) =>", "if gives_up || needs.len() < usize::MAX =>")],
        "once": [("    task.claim(read.keys())\n", "    let _ = task.claim(read.keys());\n    true\n")],
        "giving up": [("        tokio::spawn(call_off(id, recall));\n", "        drop((id, recall, call_off as fn(String, Box<dyn Recall>) -> _));\n")],
    }),
}

# What a gate's whole opening leaves out: checks whose edits touch what another edit touches.
NOT_TOGETHER = {
    "approve": ["denied", "pending", "bytes"],
}

# What is no gate. Name -> (its folder, the command that has its own tests, {check: edits}), with the file of each edit before it. What
# `BY_NAME` has is built whole and tried by a script, which takes minutes: it is opened when it is named, each check by itself.
CREDENTIALS = "gateway/credentials/src"
ELSEWHERE = {
    "lending": (CREDENTIALS, ["-p", "bailiwick-credentials", "--lib", "broker::"], {
        "journal of a lease": [("mint.rs",
            "within(desk.book.open(&entry)).await.map_err(|why| (failed(format!(\"that it is lent can't be stored: {why}\")), None))?;",
            "let _ = desk.book.open(&entry);")],
        "journal of a handle": [("mint.rs", "let kept = within(self.desk.book.keep(self.entry, handle)).await;", "let kept = Ok::<(), String>(());")],
        "journal before use": [("mint.rs", "judged.and(stored).and_then(", "judged.and(stored.or(Ok(()))).and_then(")],
        "record before use": [("mint.rs", "put.map_err(|lost| format!(\"it can't be put on record: {lost}\")).map(|()| lease)", "put.or(Ok::<(), String>(())).map(|()| lease)")],
        "end of a grant": [("broker.rs",
            "        if let Some(lent) = lent {\n            give_back(&self.desk, &lent, why, None);",
            "        if let Some(lent) = lent {\n            drop((lent, why));")],
        "taken back": [("desk.rs", "provider.revoke(handle, self.clock.now_ms())", "async { let _ = (provider, handle); Ok(()) }")],
        "half made": [("mint.rs", "leave(desk, spec, shared, kept, \"it was not made as was wished\", &fault);",
            "let _ = (shared, kept, leave as fn(&Arc<Desk>, &CredentialSpec, Arc<Entry>, Option<Handle>, &str, &MintFault));")],
        "generous": [("mint.rs", "if beyond > SKEW_MS {", "if beyond > u64::MAX - SKEW_MS {")],
        "generous given back": [("mint.rs", "                desk.give_back(Returning { entry, handle, provider, why, used: None, uses: 0 });",
            "                drop(Returning { entry, handle, provider, why, used: None, uses: 0 });")],
        "standing in its place": [("mint.rs", "        Err(fault) => {\n            let shared",
            "        Err(_) if kept.is_some() => Minted {\n"
            "            material: bailiwick_pipeline::ports::Material::of(\"standing-0123456789\".to_owned().into()),\n"
            "            reference: String::new(),\n            expires_at_ms: Some(wish.until_ms),\n            handle: kept.clone(),\n        },\n"
            "        Err(fault) => {\n            let shared")],
        "one that has ended": [("broker.rs", "&& now_ms < lent.lease.expires_at_ms())", "&& { let _ = now_ms; true })")],
        "ended while it was made": [("broker.rs", "if place.is_closed || !self.grant.is_live(self.desk.clock.now_ms()) {", "if false {")],
        "after a crash": [("broker.rs", "self.desk.give_back(Returning { entry: Arc::new(entry), handle, provider, why, used: None, uses: 0 });",
            "drop(Returning { entry: Arc::new(entry), handle, provider, why, used: None, uses: 0 });")],
    }),
    "database": (CREDENTIALS, ["tests/credentials/run", "--parts", "lending,killed", "--rounds", "24"], {
        "sessions": [("postgres/back.rs", "end_sessions(&client, OF_ROLE, &held.role).await?;", "let _ = OF_ROLE;")],
        "journal": [("postgres/mod.rs", "journal.keep(&handle).await?;", "let _ = journal;")],
    }),
}
BY_NAME = ["database"]
