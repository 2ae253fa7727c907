//! Errors of servers, in the form that the agent's protocol version has for them, whichever the server speaks.

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, HttpServer, Reply, Script, Setup, tool};

const CLASSES: &str = "prefix = \"never\"\nfeatures.resource_read = { kind = \"read\", band = \"low\" }\n";
const PREFIXED: &str = "features.resource_read = { kind = \"read\", band = \"low\" }\n";
const URI: &str = "docs:/gone";

/// A gateway over one server of that era that answers the call of each of these tools with an error, and `resources/read` with another.
struct Stand {
    gateway: Gateway,
    _server: HttpServer,
}

fn stand(era: &str, read: &str, calls: &[(&str, &str)], more: &str) -> Stand {
    let setup = Setup::new();
    let tools: Vec<Value> = calls.iter().map(|(name, _)| tool(name, &[])).collect();
    let script = Script::new(setup.folder(), "s", &tools);
    let mut answers = json!({"resources/read": format!(r#""error":{read}"#)});
    let mut classes = String::new();
    for (name, error) in calls {
        answers[format!("tools/call {name}")] = json!(format!(r#""error":{error}"#));
        classes.extend(["tools.", name, " = { kind = \"read\", band = \"low\" }\n"]);
    }
    script.offer_with(&tools, &json!({"era": era, "answers": answers}));
    let server = script.serve_http();
    let gateway = setup
        .agent("a")
        .http_connector("s", &server.url, &format!("{more}{classes}"))
        .grant("g", "a", &["s__*", "s/resource_read"], "")
        .start();
    Stand { gateway, _server: server }
}

async fn eras(agent: &Agent) -> [(bool, Agent); 3] {
    [(true, agent.clone()), (false, agent.session("2025-11-25").await), (false, agent.session("2025-06-18").await)]
}

fn code_and_data(reply: &Reply) -> (i64, Value) {
    (reply.error_code(), reply.json()["error"]["data"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_is_not_there_has_the_code_of_the_agents_version_and_the_uri_that_it_asked_for() {
    // Servers say it in several ways: as their version has it, as the other has it, and with nothing beside it.
    let ways = [
        r#"{"code":-32602,"message":"Resource not found","data":{"x":1e2,"uri":"docs:/gone"}}"#,
        r#"{"code":-32602,"message":"Resource not found"}"#,
        r#"{"code":-32002,"message":"Resource not found","data":{"uri":"docs:/gone","x":1e2}}"#,
        r#"{"code":-32002,"message":"Resource not found","data":"no"}"#,
        r#"{"code":-32002,"message":"Resource not found","data":{"x":1e2}}"#,
        r#"{"code":-32601,"message":"Method not found"}"#,
    ];
    for era in ["modern", "legacy"] {
        for way in ways {
            let bare = stand(era, way, &[], CLASSES);
            for (is_modern, agent) in eras(&bare.gateway.agent("a")).await {
                let reply = agent.ask("resources/read", &format!(r#""uri":"{URI}""#)).await;
                let code = if is_modern { -32602 } else { -32002 };
                assert_eq!((reply.status, reply.error_code()), (200, code), "{era} {way}: {}", reply.text);
                assert_eq!(reply.json()["error"]["data"]["uri"], json!(URI), "{era} {way}: {}", reply.text);
                assert_eq!(reply.text.contains(r#""x":1e2"#), way.contains("1e2"), "what else it says stays: {}", reply.text);
            }
        }
    }
    // With a prefix, it is the name that the agent asked by.
    let prefixed = stand("modern", ways[0], &[], PREFIXED);
    for (is_modern, agent) in eras(&prefixed.gateway.agent("a")).await {
        let reply = agent.ask("resources/read", &format!(r#""uri":"s+{URI}""#)).await;
        let data = reply.raw(&["error", "data"]);
        assert_eq!(
            (reply.error_code(), data.as_str()),
            (if is_modern { -32602 } else { -32002 }, r#"{"x":1e2,"uri":"s+docs:/gone"}"#)
        );
        // As what is not granted, and what no connector has, but for the words, which are those of a server.
        let foreign = agent.ask("resources/read", r#""uri":"t+docs:/gone""#).await;
        assert_eq!((foreign.status, foreign.error_code()), (reply.status, reply.error_code()));
        assert_eq!(foreign.json()["error"]["data"], json!({"uri": "t+docs:/gone"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_that_an_agent_lacks_is_named_in_its_own_version() {
    let needed = json!({"requiredCapabilities": {"sampling": {}}});
    let calls = [
        ("needy", format!(r#"{{"code":-32021,"message":"needs sampling","data":{needed}}}"#)),
        ("untyped", r#"{"code":-32021,"message":"needs something"}"#.to_owned()),
        ("mistyped", r#"{"code":-32021,"message":"needs something","data":{"requiredCapabilities":["sampling"]}}"#.to_owned()),
        ("header", r#"{"code":-32020,"message":"header"}"#.to_owned()),
        ("version", r#"{"code":-32022,"message":"version","data":{"supported":["1"],"requested":"2"}}"#.to_owned()),
        ("url", r#"{"code":-32042,"message":"open this","data":{"elicitations":[{"url":"https://x.example"}]}}"#.to_owned()),
        ("own", r#"{"code":-32050,"message":"no","data":{"n":1e2,"m":[1.50,1e400],"":null}}"#.to_owned()),
        ("absent", r#"{"code":-32002,"message":"no"}"#.to_owned()),
        ("method", r#"{"code":-32601,"message":"Method not found"}"#.to_owned()),
    ];
    let calls: Vec<(&str, &str)> = calls.iter().map(|(name, error)| (*name, error.as_str())).collect();
    for era in ["modern", "legacy"] {
        let stand = stand(era, "{}", &calls, "");
        for (is_modern, agent) in eras(&stand.gateway.agent("a")).await {
            let call = |name: &'static str| {
                let agent = agent.clone();
                async move { agent.call(&format!("s__{name}"), &json!({})).await }
            };
            let needy = call("needy").await;
            if is_modern {
                assert_eq!((needy.status, code_and_data(&needy)), (400, (-32021, needed.clone())), "{era}");
            } else {
                // Older versions have no such code, nor any that says it: it is an error of the server, whatever else it is.
                let data = json!({"code": -32021, "data": needed});
                assert_eq!((needy.status, code_and_data(&needy)), (200, (-32000, data)), "{era}");
            }
            // What is not as the protocol has it, and what is said of the way between gateway and server, is the server's alone.
            for (name, code) in [
                ("untyped", -32021),
                ("mistyped", -32021),
                ("header", -32020),
                ("version", -32022),
                ("url", -32042),
                ("method", -32601),
            ] {
                let reply = call(name).await;
                let (told, data) = code_and_data(&reply);
                assert_eq!((reply.status, told, &data["code"]), (200, -32000, &json!(code)), "{era} {name}: {}", reply.text);
            }
            let own = call("own").await;
            assert_eq!((own.status, own.error_code()), (200, -32050));
            assert_eq!(own.raw(&["error", "data"]), r#"{"n":1e2,"m":[1.50,1e400],"":null}"#);
            let absent = call("absent").await;
            assert_eq!(absent.error_code(), if is_modern { -32000 } else { -32002 }, "of a tool, it is about no resource");
        }
    }
}
