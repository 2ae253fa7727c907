//! What servers and agents say arrives as it was said: number text, the order of keys, escapes, and what no version of the protocol knows. Over
//! both carriers and between all versions. What the gateway itself adds, takes away and renames is written out here, and nothing else may differ.

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, HttpServer, Reply, Script, Setup, raw};

/// Text that parsers like to change: numbers, escapes, keys, their order, spaces.
const ODD: &str = r#"{ "z":1e2,"a":[1.50,123456789012345678901234567890,1e400,-0,1E+2], "":{"":""},"\u0061\/":"\u00e9\ud83d\ude00\/","m" : null }"#;

/// The name that our part of the protocol stands under.
const INFO: &str = "io.modelcontextprotocol/serverInfo";

/// A server: how it is reached and what it speaks.
struct Server {
    id: &'static str,
    is_modern: bool,
    script: Script,
    _http: Option<HttpServer>,
}

/// One gateway with the same server behind it four times: over both carriers, in both eras.
struct Stand {
    gateway: Gateway,
    servers: Vec<Server>,
}

const CLASSES: &str = "tools.odd = { kind = \"read\", band = \"low\", undeclared = \"allow\" }\n\
    tools.typed = { kind = \"read\", band = \"low\" }\n\
    tools.zlist = { kind = \"read\", band = \"low\" }\n\
    features.resource_read = { kind = \"read\", band = \"low\" }\n\
    features.prompt_get = { kind = \"read\", band = \"low\" }\n\
    features.complete = { kind = \"read\", band = \"low\" }\n";

impl Stand {
    /// What the servers say: of those that speak 2026-07-28, `result` has been given what that version needs.
    fn of(list: &str, answers: impl Fn(&dyn Fn(&str) -> String) -> Value) -> Self {
        let mut setup = Setup::new().agent("a");
        let mut servers = Vec::new();
        for (id, is_modern, is_http) in
            [("old-lines", false, false), ("new-lines", true, false), ("old-http", false, true), ("new-http", true, true)]
        {
            let script = Script::new(setup.folder(), id, &[]);
            let result = |members: &str| {
                let kind = if is_modern { r#""resultType":"complete","# } else { "" };
                format!(r#""result":{{{kind}{members}}}"#)
            };
            let list_text = result(list);
            let more = json!({
                "era": if is_modern { "modern" } else { "legacy" },
                "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}},
                "list_text": list_text.strip_prefix(r#""result":"#).unwrap(),
                "answers": answers(&result),
            });
            script.offer_with(&[], &more);
            let http = is_http.then(|| script.serve_http());
            setup = match &http {
                Some(server) => setup.http_connector(id, &server.url, CLASSES),
                None => setup.connector(id, &script, CLASSES),
            };
            servers.push(Server { id, is_modern, script, _http: http });
        }
        let granted: Vec<String> = servers
            .iter()
            .flat_map(|Server { id, .. }| ["__*", "/resource_read", "/prompt_get", "/complete"].map(|part| format!("{id}{part}")))
            .collect();
        let granted: Vec<&str> = granted.iter().map(String::as_str).collect();
        let gateway = setup.grant("g", "a", &granted, "").start();
        Self { gateway, servers }
    }

    /// The agent in each version, and whether that is the newest.
    async fn agents(&self) -> [(bool, Agent); 3] {
        let agent = self.gateway.agent("a");
        [(true, agent.clone()), (false, agent.session("2025-11-25").await), (false, agent.session("2025-06-18").await)]
    }
}

/// What an agent is to hear of a result with these members: in the newest version `resultType` before them and our name in their `_meta`, or
/// in one of their own; and nothing else.
fn heard(is_modern: bool, before: &str, members: &str, meta: Option<&str>) -> String {
    if !is_modern {
        let meta = meta.map(|meta| format!(r#","_meta":{{{meta}}}"#)).unwrap_or_default();
        return format!("{{{members}{meta}}}");
    }
    let own = json!({"name": "bailiwick", "title": "Bailiwick", "version": env!("CARGO_PKG_VERSION")});
    let comma = if meta.is_some() { "," } else { "" };
    let meta = meta.unwrap_or_default();
    format!(r#"{{"resultType":"complete",{before}{members},"_meta":{{{meta}{comma}"{INFO}":{own}}}}}"#)
}

fn result(reply: &Reply) -> String {
    assert!(reply.json().get("result").is_some(), "{}", reply.text);
    reply.raw(&["result"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tools_definition_is_listed_as_its_server_wrote_it() {
    let schema =
        r#"{"x-unit":1e2,"type":"object","properties":{"z":{"maximum":123456789012345678901234567890},"a":{"x-y":"\u0062"}}}"#;
    let before = format!(r#""x-unknown":{ODD},"":1e2,"\u0078-esc":"\u0061\/b""#);
    let after = format!(
        r#""title":"Odd","icons":[{{"src":"data:,x","x-z":1.50}}],"annotations":{{"readOnlyHint":true,"x-hint":{ODD},"audience":["system"]}},"inputSchema":{schema},"_meta":{{"k":1e2}}"#
    );
    let typed =
        r#""outputSchema":{"type":"object","required":["n"],"properties":{"n":{"minimum":1.0}}},"inputSchema":{"type":"object"}"#;
    // What older versions do not have, they are not told.
    let odd_output = |is_modern: bool| if is_modern { r#","outputSchema":{"type":"array","x":1e2}"# } else { "" };
    let tools = [
        format!(r#"{{{before},"name":"odd","execution":{{"taskSupport":"forbidden"}},{after}}}"#),
        r#"{"name":"broken","description":"no schema"}"#.to_owned(),
        r#"{"name":"no-object","inputSchema":{"type":"object"},"outputSchema":true}"#.to_owned(),
        "7".to_owned(),
        format!(r#"{{"name":"typed",{typed}}}"#),
        format!(r#"{{"name":"zlist"{},"inputSchema":{{"type":"object"}}}}"#, odd_output(true)),
    ];
    let list = format!(r#""x-before":{ODD},"tools":[{}],"resources":[]"#, tools.join(","));
    let stand = Stand::of(&list, |_| json!({}));
    for (is_modern, agent) in stand.agents().await {
        let reply = agent.list().await;
        let listed: Vec<String> = (0..12).map(|at| reply.raw(&["result", "tools", &at.to_string()])).collect();
        let expected: Vec<String> = ["new-http", "new-lines", "old-http", "old-lines"]
            .iter()
            .flat_map(|id| {
                // Of tasks nothing is relayed, and so nothing promised.
                [
                    format!(r#"{{{before},"name":"{id}__odd",{after}}}"#),
                    format!(r#"{{"name":"{id}__typed",{typed}}}"#),
                    format!(r#"{{"name":"{id}__zlist"{},"inputSchema":{{"type":"object"}}}}"#, odd_output(is_modern)),
                ]
            })
            .collect();
        assert_eq!(listed, expected);
        assert_eq!(reply.json()["result"]["tools"].as_array().unwrap().len(), 12);
    }
    // What is no definition is dropped alone, and reported.
    for server in &stand.servers {
        let output = stand.gateway.cli.run(&["connectors", "diff", server.id, "--json"]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found: Vec<&str> =
            said[0]["findings"].as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect();
        assert_eq!(found, ["broken", "no-object", ""], "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_arrives_as_its_server_wrote_it() {
    let blocks = format!(
        r#"[{{"type":"text","text":"\u0061","x":{ODD},"annotations":{{"audience":["system"],"priority":1e0,"x":1e2}}}},{{"type":"x-new","data":{ODD}}},{{"x":1}},{{"type":7}},{{"type":"image","data":"AA==","mimeType":"image/png","_meta":{{"k":1e2}}}}]"#
    );
    let full = format!(
        r#""x-before":{ODD},"tools":[{{"name":"y"}}],"content":{blocks},"":{ODD},"\u0078":1,"structuredContent":{{"n":1e2,"b":{ODD}}},"isError":false,"contents":7,"task":{ODD}"#
    );
    let meta = format!(r#""k":1e2,"x\u002fy" :{ODD}"#);
    let small = r#""content":[]"#;
    let answers = |result: &dyn Fn(&str) -> String| {
        json!({
            "tools/call odd": result(&format!(r#"{full},"_meta":{{{meta}}}"#)),
            "tools/call typed": result(&format!(r#"{small},"structuredContent":{{"n":1E+2}}"#)),
            "tools/call zlist": result(&format!(r#"{small},"structuredContent":[1e2],"x":{ODD}"#)),
        })
    };
    let list = r#""tools":[{"name":"odd","inputSchema":{"type":"object"}},{"name":"typed","inputSchema":{"type":"object"},"outputSchema":{"type":"object","required":["n"]}},{"name":"zlist","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}}]"#;
    let stand = Stand::of(list, answers);
    for (is_modern, agent) in stand.agents().await {
        for Server { id, .. } in &stand.servers {
            let reply = agent.call(&format!("{id}__odd"), &json!({})).await;
            assert_eq!(result(&reply), heard(is_modern, "", &full, Some(&meta)), "{id}");
            let reply = agent.call(&format!("{id}__typed"), &json!({})).await;
            assert_eq!(
                result(&reply),
                heard(is_modern, "", &format!(r#"{small},"structuredContent":{{"n":1E+2}}"#), None),
                "{id}"
            );
            // Structured content that is no object is none in older versions.
            let reply = agent.call(&format!("{id}__zlist"), &json!({})).await;
            let structured = if is_modern { r#","structuredContent":[1e2]"# } else { "" };
            assert_eq!(result(&reply), heard(is_modern, "", &format!(r#"{small}{structured},"x":{ODD}"#), None), "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_links_name_is_the_one_that_agents_follow_and_nothing_else_of_a_result_changes() {
    // What a block says of a resource of its server, and what an agent is to hear of it.
    let blocks = |name: &str| {
        format!(
            r#"{{"type":"resource_link","x":{ODD},"\u0075ri" : "{name}docs:/a","name":"docs:/a"}},{{"type":"\u0072esource","resource":{{"uri":"{name}docs:/b","text":"docs:/b","x":1e2}},"uri":"docs:/c"}},{{"type":"resource_link","uri":"https://w.example/a","name":"w"}},{{"type":"resource_link","uri":7}},{{"type":"resource","resource":[1.50]}},{{"type":"text","text":"resource docs:/a","uri":"docs:/d"}},{{"type":"resource_link","uri":"{name}old-lines+docs:/a","name":"another's"}}"#
        )
    };
    let content = |name: &str| {
        format!(r#""a":1e2,"content":[{}],"structuredContent":{{"uri":"docs:/a","type":"resource_link"}}"#, blocks(name))
    };
    let messages = |name: &str| {
        let all = blocks(name);
        format!(
            r#""messages":[{{"role":"user","content":{{"type":"resource_link","uri":"{name}docs:/a","name":"n"}},"x":{ODD}}},{{"role":"assistant","content":[{all}]}},{{"role":7}}],"description":"\u0064""#
        )
    };
    let answers = |result: &dyn Fn(&str) -> String| json!({"tools/call odd": result(&content("")), "prompts/get p": result(&messages("")), "resources/read docs:/a": result(r#""contents":[{"text":"it","uri":"docs:/a"}]"#)});
    let stand = Stand::of(r#""tools":[{"name":"odd","inputSchema":{"type":"object"}}]"#, answers);
    for (is_modern, agent) in stand.agents().await {
        for Server { id, .. } in &stand.servers {
            let behind = format!("{id}+");
            let reply = agent.call(&format!("{id}__odd"), &json!({})).await;
            assert_eq!(result(&reply), heard(is_modern, "", &content(&behind), None), "{id}");
            let link = reply.json()["result"]["content"][0]["uri"].as_str().unwrap().to_owned();
            let followed = agent.ask("resources/read", &format!(r#""uri":"{link}""#)).await;
            assert_eq!(followed.result()["contents"][0], json!({"text": "it", "uri": link}), "a link that is followed works");
            let reply = agent.ask("prompts/get", &format!(r#""name":"{id}__p""#)).await;
            assert_eq!(result(&reply), heard(is_modern, "", &messages(&behind), None), "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_servers_offer_besides_tools_is_listed_and_answered_as_they_wrote_it() {
    let resource = |name: &str| format!(r#"{{"x":{ODD},"name":"\u0061","uri" :"{name}docs:/a","size":1e2,"":null}}"#);
    let template = |name: &str| {
        format!(r#"{{"uriTemplate":"{name}docs:/{{+path}}","name":"t","annotations":{{"audience":["system"],"x":{ODD}}}}}"#)
    };
    let prompt = |name: &str| {
        format!(r#"{{"description":"\u0064","name":"{name}p","arguments":[{{"name":"n","x":{ODD}}}],"icons":[],"x":1.50}}"#)
    };
    let contents = |name: &str| {
        format!(
            r#""x":{ODD},"contents":[{{"x":1e2,"uri":"{name}docs:/a","text":"\u0061","_meta":{{"k":1.50}}}},{{"text":"no uri"}}],"":1"#
        )
    };
    let messages =
        format!(r#""messages":[{{"role":"user","content":{{"type":"text","text":"\u0061","x":{ODD}}},"x":1e2}}],"x":{ODD}"#);
    let completion = format!(r#""completion":{{"values":["\u0061"],"total":1e2,"x":{ODD}}},"x":1.50"#);
    let broken = r#"7,{"uri":7},{"name":"no uri"},{"uriTemplate":[]}"#;
    let answers = |result: &dyn Fn(&str) -> String| {
        json!({
            "resources/list": result(&format!(r#""x":{ODD},"resources":[{},{broken}]"#, resource(""))),
            "resources/templates/list": result(&format!(r#""resourceTemplates":[{broken},{}]"#, template(""))),
            "prompts/list": result(&format!(r#""prompts":[{},{{"title":"no name"}}],"x":1e2"#, prompt(""))),
            "resources/read docs:/a": result(&contents("")),
            "prompts/get p": result(&messages),
            "completion/complete": result(&completion),
        })
    };
    let stand = Stand::of(r#""tools":[]"#, answers);
    let ids = ["new-http", "new-lines", "old-http", "old-lines"];
    for (is_modern, agent) in stand.agents().await {
        let list = async |method: &str, member: &str| agent.ask(method, "").await.raw(&["result", member]);
        let all = |item: &dyn Fn(&str) -> String, between: &str| {
            format!("[{}]", ids.map(|id| item(&format!("{id}{between}"))).join(","))
        };
        assert_eq!(list("resources/list", "resources").await, all(&resource, "+"));
        assert_eq!(list("resources/templates/list", "resourceTemplates").await, all(&template, "+"));
        assert_eq!(list("prompts/list", "prompts").await, all(&prompt, "__"));
        for Server { id, .. } in &stand.servers {
            let reply = agent.ask("resources/read", &format!(r#""uri":"{id}+docs:/a""#)).await;
            let kept = r#""ttlMs":0,"cacheScope":"private","#;
            assert_eq!(result(&reply), heard(is_modern, kept, &contents(&format!("{id}+")), None), "{id}");
            let reply = agent.ask("prompts/get", &format!(r#""name":"{id}__p","arguments":{{"n":"\u0061"}}"#)).await;
            assert_eq!(result(&reply), heard(is_modern, "", &messages, None), "{id}");
            let of_prompt =
                format!(r#""ref":{{"type":"ref/prompt","name":"{id}__p"}},"argument":{{"name":"n","value":"\u0061"}}"#);
            let reply = agent.ask("completion/complete", &of_prompt).await;
            assert_eq!(result(&reply), heard(is_modern, "", &completion, None), "{id}");
        }
    }
}

/// The texts of `params` of what this server was asked by this method, without the `_meta` that is ours.
fn asked(server: &Server, method: &str, member: &str) -> Vec<String> {
    let lines = server.script.received();
    let of_method = lines.iter().filter(|line| raw(line, &["method"]) == Some(&format!("\"{method}\"")));
    of_method.map(|line| raw(line, &["params", member]).unwrap_or("nothing").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_asks_for_is_asked_of_the_server_as_it_was_written() {
    let answers = |result: &dyn Fn(&str) -> String| {
        json!({
            "tools/call": result(r#""content":[]"#), "resources/read": result(r#""contents":[]"#), "prompts/get": result(r#""messages":[]"#),
            "completion/complete": result(r#""completion":{"values":[]}"#),
        })
    };
    let stand = Stand::of(r#""tools":[{"name":"odd","inputSchema":{"type":"object","properties":{"z":{}}}}]"#, answers);
    for (_, agent) in stand.agents().await {
        for server in &stand.servers {
            let id = server.id;
            let last = |method: &str, member: &str| asked(server, method, member).pop().unwrap();
            // Arguments that its schema does not declare, as the connector's admin allows.
            agent.call_raw(&format!("{id}__odd"), ODD).await.result();
            assert_eq!(last("tools/call", "arguments"), ODD, "{id}");
            assert_eq!(last("tools/call", "name"), "\"odd\"");
            let uri = r#""docs:/\u0061 \/b""#;
            agent.ask("resources/read", &format!(r#""uri":{}"#, uri.replace("\"docs", &format!("\"{id}+docs")))).await.result();
            assert_eq!(last("resources/read", "uri"), r#""docs:/a /b""#, "{id}: the same URI");
            let arguments = r#"{ "z":"\u0061","a" : "\/","":"é" }"#;
            agent.ask("prompts/get", &format!(r#""name":"{id}__p","arguments":{arguments}"#)).await.result();
            assert_eq!((last("prompts/get", "name"), last("prompts/get", "arguments").as_str()), ("\"p\"".to_owned(), arguments));
            let (argument, context) = (r#"{ "value":"\u0061","name":"n" }"#, r#"{"arguments":{"z":"\u0061","a":""}}"#);
            let of = |reference: &str| format!(r#""argument":{argument},"ref":{reference},"context":{context}"#);
            let reference = |name: &str| format!(r#"{{ "title":"\u0074","name" : "{name}","type":"ref/prompt" }}"#);
            agent.ask("completion/complete", &of(&reference(&format!("{id}__p")))).await.result();
            assert_eq!(last("completion/complete", "ref"), reference("p"), "{id}");
            assert_eq!(
                (last("completion/complete", "argument").as_str(), last("completion/complete", "context").as_str()),
                (argument, context)
            );
            let reference = |name: &str| format!(r#"{{"uri":"{name}docs:/{{p}}","type":"ref/resource"}}"#);
            agent.ask("completion/complete", &of(&reference(&format!("{id}+")))).await.result();
            assert_eq!(last("completion/complete", "ref"), reference(""), "{id}");
        }
    }
    let modern = stand.servers.iter().filter(|server| server.is_modern).count();
    assert_eq!(modern, 2);
}
