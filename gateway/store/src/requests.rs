//! What agents asked for beyond their grants. In memory what counts now, in the store what survives a restart.
//!
//! A request gives nothing. What a person grants is an extension of the grant ([`LiveGrants::extend`](crate::LiveGrants::extend)).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bailiwick_pipeline::{
    grant::{Extension, LiveGrant},
    ids::{AgentId, CallId, GrantId, RequestId},
};
use bailiwick_schemas::names::QualifiedName;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{StoreFault, WriteFault},
    grants::{GrantFault, LiveGrants},
    random,
    rows::{self, Place, to_json},
    store::Store,
};

/// So many requests of one grant may wait at a time.
const MOST_OPEN: usize = 3;

/// A request that was decided is listed for so long, milliseconds: 30 days.
const REMEMBERED_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// So many requests of one grant are remembered: the oldest that were decided give way.
const MOST_OF_GRANT: usize = 20;

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Nobody has decided yet.
    Pending,
    /// A person granted it.
    Granted,
    /// A person said no.
    Denied,
    /// Its grant ended before anybody decided.
    Lapsed,
}

impl RequestState {
    /// The word used in records and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Lapsed => "lapsed",
        }
    }
}

/// How a request was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestEnd {
    /// By whom; nobody where its grant ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When, unix milliseconds.
    pub at_ms: u64,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when it was granted, unix milliseconds; not set means for the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// What an agent asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRequest {
    /// Its id.
    pub id: RequestId,
    /// What has become of it.
    pub state: RequestState,
    /// The grant that it asks beyond.
    pub grant: GrantId,
    /// Which issue of that grant.
    pub grant_revision: u64,
    /// The agent.
    pub agent: AgentId,
    /// The tools.
    pub tools: BTreeSet<QualifiedName>,
    /// Why, in the agent's words.
    pub reason: String,
    /// For how long, milliseconds; not set means for the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// The call that asked.
    pub call: CallId,
    /// When, unix milliseconds.
    pub created_at_ms: u64,
    /// How it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RequestEnd>,
}

/// Why a request is not taken, or not decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Too many of its grant wait.
    #[error("{0} requests of the grant wait already")]
    TooMany(usize),
    /// Somebody said no to one of its grant.
    #[error("a request of the grant was denied: none is taken for another {left_ms} ms")]
    TooSoon {
        /// For so long, milliseconds.
        left_ms: u64,
    },
    /// None of this id.
    #[error("there is no request `{0}`: `bailiwick requests list --all` shows them")]
    Unknown(String),
    /// It was decided, or its grant has ended.
    #[error("request `{id}` is {} already", .state.as_str())]
    Decided {
        /// The request.
        id: RequestId,
        /// What it is.
        state: RequestState,
    },
    /// It could not be stored.
    #[error(transparent)]
    Write(#[from] WriteFault),
}

/// Why a request is not granted.
#[derive(Debug, thiserror::Error)]
pub enum GrantingFault {
    /// By reason of the request.
    #[error(transparent)]
    Request(#[from] RequestFault),
    /// By reason of its grant.
    #[error(transparent)]
    Grant(#[from] GrantFault),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct RequestWanted {
    /// The grant.
    pub grant: GrantId,
    /// Which issue of it.
    pub grant_revision: u64,
    /// The agent.
    pub agent: AgentId,
    /// The tools.
    pub tools: BTreeSet<QualifiedName>,
    /// Why.
    pub reason: String,
    /// For how long, milliseconds.
    pub for_ms: Option<u64>,
    /// The call that asks.
    pub call: CallId,
}

/// All requests that are remembered.
pub struct AccessRequests {
    store: Store,
    held: Arc<Mutex<BTreeMap<RequestId, AccessRequest>>>,
}

impl AccessRequests {
    /// Reads them.
    pub fn load(store: &Store) -> Result<Self, StoreFault> {
        let sql = "SELECT id, record FROM access_requests";
        let stored: Vec<(String, String)> = rows::all(&store.read(), sql, |row| row.try_into())?;
        let mut held = BTreeMap::new();
        for (id, record) in stored {
            let place = Place { table: "access_requests", row: &id };
            let request: AccessRequest = place.json(&record)?;
            if request.id.as_str() != id || (request.state == RequestState::Pending) != request.end.is_none() {
                return Err(place.fault("its record is of another request, or contradicts itself"));
            }
            held.insert(request.id.clone(), request);
        }
        Ok(Self { store: store.clone(), held: Arc::new(Mutex::new(held)) })
    }

    /// The last request of this issue of the grant for exactly these tools, unless its grant ended before anybody decided.
    pub fn same(&self, grant: (&GrantId, u64), tools: &BTreeSet<QualifiedName>) -> Option<AccessRequest> {
        let is_same = |request: &&AccessRequest| {
            (&request.grant, request.grant_revision) == grant && request.tools == *tools && request.state != RequestState::Lapsed
        };
        self.held().values().rfind(is_same).cloned()
    }

    /// Whether another request of this grant would be taken now.
    pub fn may_ask(&self, grant: &GrantId, cool_down_ms: u64, now_ms: u64) -> Result<(), RequestFault> {
        may_ask(&self.held(), grant, cool_down_ms, now_ms)
    }

    /// Takes a request; durable when it returns. One that can't be stored is not there.
    pub async fn ask(&self, wanted: RequestWanted, cool_down_ms: u64, now_ms: u64) -> Result<AccessRequest, RequestFault> {
        let id = RequestId::new(now_ms, random::bytes().map_err(WriteFault::from)?);
        let RequestWanted { grant, grant_revision, agent, tools, reason, for_ms, call } = wanted;
        let (state, end, created_at_ms) = (RequestState::Pending, None, now_ms);
        let request = AccessRequest { id, state, grant, grant_revision, agent, tools, reason, for_ms, call, created_at_ms, end };
        let (row, stored, forgotten) = (to_json(&request)?, request.clone(), {
            let mut held = self.held();
            may_ask(&held, &request.grant, cool_down_ms, now_ms)?;
            held.insert(request.id.clone(), request.clone());
            crowded_out(&mut held, &request.grant)
        });
        let written = self.store.write(move |connection| {
            forgotten.iter().try_for_each(|id| delete(connection, id))?;
            put(connection, &stored.id, &row)
        });
        if let Err(fault) = written.await {
            self.held().remove(&request.id);
            return Err(fault.into());
        }
        Ok(request)
    }

    /// Those that wait, or all that are remembered; oldest first.
    pub fn list(&self, all: bool) -> Vec<AccessRequest> {
        let is_meant = |request: &&AccessRequest| all || request.state == RequestState::Pending;
        self.held().values().filter(is_meant).cloned().collect()
    }

    /// The one of this id.
    pub fn get(&self, id: &str) -> Result<AccessRequest, RequestFault> {
        let unknown = || RequestFault::Unknown(id.chars().take(80).collect());
        let id: RequestId = id.parse().map_err(|_| unknown())?;
        self.held().get(&id).cloned().ok_or_else(unknown)
    }

    /// Ends a request that waits, as what; durable when it returns. In memory it stays ended even where that can't be stored.
    pub async fn decide(&self, id: &RequestId, state: RequestState, end: RequestEnd) -> Result<AccessRequest, RequestFault> {
        let (request, written) = {
            let mut held = self.held();
            let request = held.get_mut(id).ok_or_else(|| RequestFault::Unknown(id.to_string()))?;
            if request.state != RequestState::Pending {
                return Err(RequestFault::Decided { id: id.clone(), state: request.state });
            }
            (request.state, request.end) = (state, Some(end));
            let (id, row) = (id.clone(), to_json(request)?);
            (request.clone(), self.store.write(move |connection| put(connection, &id, &row)))
        };
        written.await?;
        Ok(request)
    }

    /// Grants a request that waits, and adds what it asked for to its grant: both are on disk when this returns, or neither is. Until then
    /// nobody else decides about it; where it can't be, the request waits as before.
    pub async fn grant(
        &self,
        id: &RequestId,
        end: RequestEnd,
        more: Vec<Extension>,
        grants: &LiveGrants,
    ) -> Result<(AccessRequest, Arc<LiveGrant>), GrantingFault> {
        let at_ms = end.at_ms;
        let (request, row) = {
            let mut held = self.held();
            let request = held.get_mut(id).ok_or_else(|| RequestFault::Unknown(id.to_string()))?;
            if request.state != RequestState::Pending {
                return Err(RequestFault::Decided { id: id.clone(), state: request.state }.into());
            }
            let granted = AccessRequest { state: RequestState::Granted, end: Some(end), ..request.clone() };
            let row = to_json(&granted).map_err(RequestFault::from)?;
            request.clone_from(&granted);
            (granted, row)
        };
        let of = request.id.clone();
        let extended = grants.extend_with(&request.grant, more, at_ms, move |connection| put(connection, &of, &row)).await;
        match extended {
            Ok(extended) => Ok((request, extended)),
            Err(fault) => {
                if let Some(request) = self.held().get_mut(id) {
                    (request.state, request.end) = (RequestState::Pending, None);
                }
                Err(fault.into())
            }
        }
    }

    /// Ends those that wait of grants that are no longer live, and forgets what was decided long ago.
    pub async fn sweep(&self, now_ms: u64, is_live: impl Fn(&GrantId, u64) -> bool) -> Result<(), WriteFault> {
        let written = {
            let mut held = self.held();
            let mut rows = Vec::new();
            let is_over = |request: &&mut AccessRequest| {
                request.state == RequestState::Pending && !is_live(&request.grant, request.grant_revision)
            };
            for request in held.values_mut().filter(is_over) {
                let reason = Some("its grant has ended".to_owned());
                request.state = RequestState::Lapsed;
                request.end = Some(RequestEnd { by: None, at_ms: now_ms, reason, until_ms: None });
                rows.push((request.id.clone(), to_json(request)?));
            }
            let is_old = |request: &AccessRequest| {
                request.end.as_ref().is_some_and(|end| end.at_ms.saturating_add(REMEMBERED_MS) < now_ms)
            };
            let old: Vec<RequestId> = held.values().filter(|one| is_old(one)).map(|one| one.id.clone()).collect();
            for id in &old {
                held.remove(id);
            }
            if rows.is_empty() && old.is_empty() {
                return Ok(());
            }
            self.store.write(move |connection| {
                rows.iter().try_for_each(|(id, row)| put(connection, id, row))?;
                old.iter().try_for_each(|id| delete(connection, id))
            })
        };
        written.await
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<RequestId, AccessRequest>> {
        // Each change under it is whole before anything in it could panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn may_ask(
    held: &BTreeMap<RequestId, AccessRequest>,
    grant: &GrantId,
    cool_down_ms: u64,
    now_ms: u64,
) -> Result<(), RequestFault> {
    let of_grant = || held.values().filter(|request| request.grant == *grant);
    let denied = of_grant().filter(|request| request.state == RequestState::Denied).filter_map(|request| request.end.as_ref());
    let again_ms = denied.map(|end| end.at_ms.saturating_add(cool_down_ms)).max().unwrap_or(0);
    if now_ms < again_ms {
        return Err(RequestFault::TooSoon { left_ms: again_ms.saturating_sub(now_ms) });
    }
    let open = of_grant().filter(|request| request.state == RequestState::Pending).count();
    if open >= MOST_OPEN { Err(RequestFault::TooMany(open)) } else { Ok(()) }
}

/// Drops the oldest decided ones of a grant that has asked very often, and says which.
fn crowded_out(held: &mut BTreeMap<RequestId, AccessRequest>, grant: &GrantId) -> Vec<RequestId> {
    let of_grant = held.values().filter(|request| request.grant == *grant);
    let excess = of_grant.clone().count().saturating_sub(MOST_OF_GRANT);
    let decided = of_grant.filter(|request| request.state != RequestState::Pending);
    let oldest: Vec<RequestId> = decided.take(excess).map(|request| request.id.clone()).collect();
    for id in &oldest {
        held.remove(id);
    }
    oldest
}

fn put(connection: &Connection, id: &RequestId, record: &str) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO access_requests (id, record) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![id.as_str(), record]).map(drop)
}

fn delete(connection: &Connection, id: &RequestId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM access_requests WHERE id = ?1")?.execute([id.as_str()]).map(drop)
}

impl fmt::Debug for AccessRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessRequests").field("held", &self.held().len()).finish_non_exhaustive()
    }
}
