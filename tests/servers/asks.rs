//! The tool `wonders`: asks what its argument `questions` says (a list of `{method, params}`), in the way of the server's version, and tells the
//! answers in their order.

use std::collections::HashMap;

use serde_json::{Value, json};

/// The questions of a call.
fn questions(message: &Value) -> Vec<Value> {
    let asked = &message["params"]["arguments"]["questions"];
    let list: Value = asked.as_str().map_or_else(|| asked.clone(), |text| serde_json::from_str(text).unwrap());
    list.as_array().cloned().unwrap_or_default()
}

/// The result of the tool in 2026-07-28: it asks, until it has answers.
pub(crate) fn modern(message: &Value) -> Value {
    let params = &message["params"];
    if let Some(answers) = params["inputResponses"].as_object() {
        let in_order: Vec<Value> =
            (0..questions(message).len()).map(|at| answers.get(&format!("k{at}")).cloned().unwrap_or(Value::Null)).collect();
        let mut result = told(&in_order);
        result["resultType"] = json!("complete");
        result["structuredContent"] = json!({"state": params["requestState"]});
        return result;
    }
    let asked: HashMap<String, Value> =
        questions(message).into_iter().enumerate().map(|(at, question)| (format!("k{at}"), question)).collect();
    json!({"resultType": "input_required", "inputRequests": asked, "requestState": "the server's own"})
}

/// The requests of the server in older versions, each with its id.
pub(crate) fn requests(message: &Value) -> Vec<(String, String)> {
    let request = |(at, question): (usize, Value)| {
        let id = format!("{}-{at}", message["id"]);
        let mut request = json!({"jsonrpc": "2.0", "id": id, "method": question["method"]});
        if !question["params"].is_null() {
            request["params"] = question["params"].clone();
        }
        (id, request.to_string())
    };
    questions(message).into_iter().enumerate().map(request).collect()
}

/// The result of the tool with these answers.
pub(crate) fn told(answers: &[Value]) -> Value {
    json!({"content": [{"type": "text", "text": json!(answers).to_string()}]})
}

/// What an answer says: its result, or its error.
pub(crate) fn said(answer: &Value) -> Value {
    answer.get("result").or(answer.get("error")).cloned().unwrap_or_default()
}
