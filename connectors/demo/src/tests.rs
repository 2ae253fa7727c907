//! The servers as a client sees them: JSON lines over a real transport.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use crate::{Demo, DemoFault, definitions, serve_on};

/// A client of the plainest kind.
struct Client {
    lines: BufReader<ReadHalf<DuplexStream>>,
    out: WriteHalf<DuplexStream>,
    next: u64,
}

impl Client {
    async fn start(which: Demo) -> Self {
        let (ours, theirs) = duplex(1 << 20);
        let (input, output) = split(theirs);
        tokio::spawn(serve_on(which, 5, input, output));
        let (lines, out) = split(ours);
        let mut client = Self { lines: BufReader::new(lines), out, next: 1 };
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
        let answer = client.ask("initialize", hello).await;
        assert_eq!(answer["serverInfo"]["name"], format!("bailiwick-demo-{}", which.id()));
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        client
    }

    async fn send(&mut self, message: &Value) {
        self.out.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        let mut line = String::new();
        self.lines.read_line(&mut line).await.unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["id"], id, "{answer}");
        answer["result"].take()
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// The structured content of a call that went well, which its text repeats.
    async fn result(&mut self, tool: &str, arguments: Value) -> Value {
        let mut answer = self.call(tool, arguments).await;
        assert_ne!(answer["isError"], true, "{answer}");
        let text: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, answer["structuredContent"]);
        answer["structuredContent"].take()
    }

    /// The words of a call that was refused by the tool itself.
    async fn refusal(&mut self, tool: &str, arguments: Value) -> String {
        let answer = self.call(tool, arguments).await;
        assert_eq!(answer["isError"], true, "{answer}");
        answer["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn what_is_served_is_what_is_defined() {
    for (which, count) in [(Demo::Tickets, 12), (Demo::Files, 10), (Demo::Shop, 8)] {
        let listed = Client::start(which).await.ask("tools/list", json!({})).await;
        assert_eq!(listed["tools"], definitions(which));
        assert_eq!(listed["tools"].as_array().unwrap().len(), count);
        assert_eq!(definitions(which).to_string(), definitions(which).to_string());
    }
}

#[test]
fn every_definition_is_plain_and_closed() {
    for which in Demo::ALL {
        for tool in definitions(which).as_array().unwrap() {
            let (name, input) = (&tool["name"], &tool["inputSchema"]);
            assert_eq!((&input["type"], &input["additionalProperties"]), (&json!("object"), &json!(false)), "{name}");
            assert!(!tool.to_string().contains("$ref") && !tool.to_string().contains("$defs"), "{tool}");
            assert!(tool["description"].as_str().unwrap().len() > 10 && !name.as_str().unwrap().contains('-'), "{name}");
            assert!(tool["annotations"]["readOnlyHint"].is_boolean(), "{name}");
            let reads = tool["annotations"]["readOnlyHint"] == true;
            assert_eq!(reads, tool["annotations"]["destructiveHint"].is_null(), "{name}");
            // `files.read` gives text: not everything downstream is structured.
            let output = &tool["outputSchema"];
            assert_eq!(output.is_null(), name == "read", "{name}");
            assert!(output.is_null() || output["type"] == "object", "{name}");
            let (properties, required) = (input["properties"].as_object(), input["required"].as_array());
            for (key, property) in properties.into_iter().flatten() {
                assert!(property["type"].is_string() && property["description"].is_string(), "{name} {key}");
                let needed = required.is_some_and(|required| required.contains(&json!(key)));
                assert_eq!(needed, property["default"].is_null(), "{name} {key}");
            }
        }
    }
}

#[tokio::test]
async fn the_tour_of_the_tickets() {
    let mut client = Client::start(Demo::Tickets).await;
    let ticket = client.call("get", json!({"id": "T-17"})).await;
    assert_eq!(ticket["content"][0]["text"], r#"{"id":"T-17","subject":"Charged twice","status":"open"}"#);
    let found = client.result("search", json!({"project": "support", "text": "charged"})).await;
    assert_eq!(found, json!({"tickets": [{"id": "T-17", "subject": "Charged twice", "status": "open"}]}));
    let all = client.result("search", json!({"project": "finance", "text": ""})).await;
    assert_eq!(all["tickets"].as_array().unwrap().len(), 5);
    for refund in ["R-1", "R-2"] {
        let paid = client.result("refund", json!({"id": "T-17", "amount_cents": 4900})).await;
        assert_eq!(paid, json!({"refund": refund, "id": "T-17", "amount_cents": 4900}));
    }
    let history = client.result("history", json!({"id": "T-17"})).await;
    assert_eq!(history["events"].as_array().unwrap().len(), 3);
    assert_eq!(client.result("whoami", json!({})).await, json!({"variable": "TICKETS_TOKEN", "length": 5}));
    let merged = client.result("merge", json!({"id": "T-20", "into": "T-17"})).await;
    assert_eq!(merged["status"], "closed");
    assert_eq!(client.result("create", json!({"project": "support", "subject": "New"})).await["id"], "T-22");
}

#[tokio::test]
async fn the_tickets_refuse_what_makes_no_sense() {
    let mut client = Client::start(Demo::Tickets).await;
    assert!(client.refusal("get", json!({"id": "T-99"})).await.contains("no ticket `T-99`"));
    assert!(client.refusal("search", json!({"project": "hr", "text": ""})).await.contains("no project `hr`"));
    assert!(client.refusal("refund", json!({"id": "T-17", "amount_cents": -1})).await.contains("`-1` cents"));
    assert!(client.refusal("refund", json!({"id": "T-99", "amount_cents": 5})).await.contains("no ticket"));
    assert!(client.refusal("get", json!({"id": "T-17", "extra": 1})).await.contains("extra"));
    assert!(client.refusal("merge", json!({"id": "T-17", "into": "T-17"})).await.contains("itself"));
    let paid = client.result("refund", json!({"id": "T-17", "amount_cents": 1})).await;
    assert_eq!(paid["refund"], "R-1", "what was refused paid nothing");
}

#[tokio::test]
async fn the_files_can_be_changed() {
    let mut client = Client::start(Demo::Files).await;
    let read = client.call("read", json!({"path": "/notes/todo.md"})).await;
    assert!(read["content"][0]["text"].as_str().unwrap().contains("T-17"));
    client.result("mkdir", json!({"path": "/new"})).await;
    client.result("write", json!({"path": "/new/a.txt", "content": "one"})).await;
    let written = client.result("append", json!({"path": "/new/a.txt", "content": " two"})).await;
    assert_eq!(written["size_bytes"], 7);
    client.result("copy", json!({"from": "/new/a.txt", "to": "/new/b.txt"})).await;
    client.result("move", json!({"from": "/new/a.txt", "to": "/archive/a.txt"})).await;
    assert_eq!(client.result("list", json!({"path": "/new"})).await["entries"], json!(["b.txt"]));
    assert_eq!(client.result("search", json!({"path": "/", "text": "ONE TWO"})).await["paths"].as_array().unwrap().len(), 2);
    client.result("delete", json!({"path": "/new/b.txt"})).await;
    assert!(client.refusal("stat", json!({"path": "/new/b.txt"})).await.contains("nothing is at"));
}

#[tokio::test]
async fn the_shop_sells_what_it_has() {
    let mut client = Client::start(Demo::Shop).await;
    let cheap = client.result("search_products", json!({"text": "mug", "max_price_cents": 2000})).await;
    assert_eq!(cheap["products"].as_array().unwrap().len(), 1);
    let order = client.result("place_order", json!({"sku": "POT-3", "quantity": 5, "customer": "a@b.c"})).await;
    assert_eq!((&order["id"], &order["total_cents"]), (&json!("O-504"), &json!(29_500)));
    let more = json!({"sku": "POT-3", "quantity": 1, "customer": "a@b.c"});
    assert!(client.refusal("place_order", more).await.contains("0 are in stock"));
    assert_eq!(client.result("cancel_order", json!({"id": "O-504"})).await["status"], "cancelled");
    assert!(client.refusal("cancel_order", json!({"id": "O-504"})).await.contains("can't be cancelled"));
    assert_eq!(client.result("get_product", json!({"sku": "POT-3"})).await["in_stock"], 5);
}

#[tokio::test]
async fn tickets_does_not_start_without_its_credential() {
    let (ours, theirs) = duplex(64);
    let (input, output) = split(theirs);
    let fault = serve_on(Demo::Tickets, 0, input, output).await.unwrap_err();
    assert!(matches!(fault, DemoFault::NoCredential) && fault.to_string().contains("TICKETS_TOKEN"), "{fault}");
    drop(ours);
}

#[test]
fn demos_are_known_by_their_ids() {
    for which in Demo::ALL {
        assert_eq!(which.id().parse::<Demo>().unwrap(), which);
    }
    assert!("Tickets".parse::<Demo>().unwrap_err().to_string().contains("`Tickets`"));
}
