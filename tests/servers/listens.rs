//! Who listens to a scripted server, and what it says to them unasked.

use std::sync::Mutex;

use serde_json::{Value, json};

/// Says a line to whoever listens; false where nobody does any more.
type Say = Box<dyn FnMut(&str) -> bool + Send>;

struct Listener {
    /// Of a request that listens (2026-07-28), its id and its filter.
    request: Option<(Value, Value)>,
    say: Say,
}

static LISTENERS: Mutex<Vec<Listener>> = Mutex::new(Vec::new());

/// Somebody hears everything: the stream of a session, or standard output.
pub(crate) fn always(say: Say) {
    LISTENERS.lock().unwrap().push(Listener { request: None, say });
}

/// Somebody listens by a request: he is told first what is agreed to. `refuses` are resources of which he is told nothing.
pub(crate) fn by_request(message: &Value, refuses: &Value, mut say: Say) {
    let (id, mut filter) = (message["id"].clone(), message["params"]["notifications"].clone());
    if let Some(uris) = filter["resourceSubscriptions"].as_array_mut() {
        uris.retain(|uri| !refuses.as_array().is_some_and(|refused| refused.contains(uri)));
    }
    let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
    let params = json!({"notifications": filter, "_meta": meta});
    say(&json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}).to_string());
    LISTENERS.lock().unwrap().push(Listener { request: Some((id, filter)), say });
}

/// A request that listens is called off.
pub(crate) fn cancelled(id: &Value) {
    LISTENERS.lock().unwrap().retain(|listener| listener.request.as_ref().is_none_or(|(own, _)| own != id));
}

/// Nobody listens any more: the requests by which somebody did.
pub(crate) fn hang_up() -> Vec<Value> {
    let gone: Vec<Listener> = LISTENERS.lock().unwrap().drain(..).collect();
    gone.into_iter().filter_map(|listener| Some(listener.request?.0)).collect()
}

/// Says what the arguments of a call have: `method`, and `params` as text, to whoever listens to such.
pub(crate) fn announce(arguments: &Value) {
    let (method, params) = (arguments["method"].as_str().unwrap(), arguments["params"].as_str().unwrap());
    let params: Value = serde_json::from_str(params).unwrap();
    LISTENERS.lock().unwrap().retain_mut(|listener| {
        let mut params = params.clone();
        if let Some((id, filter)) = &listener.request {
            let wants = match method {
                "notifications/tools/list_changed" => filter["toolsListChanged"] == true,
                "notifications/resources/list_changed" => filter["resourcesListChanged"] == true,
                "notifications/prompts/list_changed" => filter["promptsListChanged"] == true,
                _ => true,
            };
            if !wants {
                return true;
            }
            if !params.is_object() {
                params = json!({});
            }
            params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": id});
        }
        let mut message = json!({"jsonrpc": "2.0", "method": method});
        if params.is_object() {
            message["params"] = params;
        }
        (listener.say)(&message.to_string())
    });
}
