//! Strange tools: none of them spoils the bundle.

use serde_json::{Value, json};

use super::{allow, call, deny, grant, tool};
use crate::{Ask, Band, ConnectorFacts, Decision, DenyCause, Kind, Policies, PreparedGrant, Source, ToolFacts};

const PERMIT: &str = "@id(\"p\") permit (principal, action in Bailiwick::Action::\"call\", resource);";

fn compile(text: &str, tools: &[ToolFacts]) -> Policies {
    Policies::compile(&[Source { name: "t", text }], tools).unwrap()
}

fn decide(policies: &Policies, tool: &str, input: &Value) -> Decision {
    let connector =
        |id: &str| ConnectorFacts { id: id.into(), sensitivity: String::new(), environment: String::new(), credential: "none" };
    let grant = PreparedGrant::new(&grant(), &[connector("a"), connector("a-b"), connector("c:d"), connector("e__f")]).unwrap();
    policies.decide(&Ask { tool, grant: &grant, call: &call(), input })
}

#[test]
fn a_tool_whose_schema_can_t_be_mapped_still_has_its_action() {
    for schema in [
        json!(null),
        json!(true),
        json!([]),
        json!("x"),
        json!({ "type": "string" }),
        json!({ "properties": { "": {}, "__cedar": { "type": "string" }, "in": { "type": "string" }, "ü\n\"\\": { "type": "integer" } } }),
    ] {
        let strange = ToolFacts { input_schema: schema.clone(), ..tool("a__x", Kind::Read, Band::Low, &json!({})) };
        let plain = tool("a__y", Kind::Read, Band::Low, &json!({ "id": { "type": "string" } }));
        let reading = "@id(\"f\") forbid (principal, action == Bailiwick::Action::\"a__y\", resource) when { context.input has id && context.input.id == \"x\" };";
        let policies = compile(&format!("{PERMIT} {reading}"), &[strange, plain]);
        assert_eq!(policies.left_out(), [""; 0]);
        assert_eq!(decide(&policies, "a__x", &json!({ "z": 1 })), allow(&["p"]), "{schema}");
        assert_eq!(decide(&policies, "a__y", &json!({ "id": "x" })), deny(DenyCause::Forbidden, &["f"]), "{schema}");
    }
}

#[test]
fn unusual_property_names_work_quoted() {
    let names = ["", "in", "if", "has", "a b", "a\"b", "a\\b", "ü", "a::b", "__entity", "type", "principal", "$ref", "a\nb"];
    let properties: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({ "type": "integer" }))).collect();
    let strange = tool("a__x", Kind::Read, Band::Low, &Value::Object(properties));
    for name in names {
        let quoted = format!("\"{}\"", name.escape_default());
        let text = format!(
            "{PERMIT} @id(\"f\") forbid (principal, action, resource) when {{ context.input has {quoted} && context.input[{quoted}] > 5 }};"
        );
        let policies = compile(&text, std::slice::from_ref(&strange));
        assert_eq!(decide(&policies, "a__x", &json!({ name: 6 })), deny(DenyCause::Forbidden, &["f"]), "{name}");
        assert_eq!(decide(&policies, "a__x", &json!({ name: 5 })), allow(&["p"]), "{name}");
    }
}

#[test]
fn unusual_tool_names_are_actions_too() {
    let names = ["a__x.y/z", "a__ü", "a__a\"b", "a__read", "a-b__x", "a___x", "a__x__y"];
    let tools: Vec<ToolFacts> = names.iter().map(|name| tool(name, Kind::Write, Band::Low, &json!({}))).collect();
    for name in names {
        let text =
            format!("@id(\"p\") permit (principal, action == Bailiwick::Action::\"{}\", resource);", name.escape_default());
        let policies = compile(&text, &tools);
        assert_eq!(decide(&policies, name, &json!({})), allow(&["p"]), "{name}");
    }
}

#[test]
fn a_name_that_does_not_say_its_connector_or_is_there_twice_is_left_out() {
    let named =
        |name: &str, connector: &str| ToolFacts { connector: connector.into(), ..tool(name, Kind::Read, Band::Low, &json!({})) };
    let tools = [
        named("a__good", "a"),
        named("a__twice", "a"),
        named("a__twice", "a"),
        named("a__", "a"),
        named("a_x", "a"),
        named("read", "a"),
        named("__x", ""),
        named("b__x", "a"),
        named("c:d__x", "c:d"),
        named("e__f__x", "e__f"),
    ];
    let policies = compile(PERMIT, &tools);
    let left_out = ["__x", "a__", "a__twice", "a_x", "b__x", "c:d__x", "e__f__x", "read"];
    assert_eq!(policies.left_out(), left_out);
    assert_eq!(decide(&policies, "a__good", &json!({})), allow(&["p"]));
    for name in left_out {
        assert_eq!(decide(&policies, name, &json!({})), deny(DenyCause::UnknownTool, &[]), "{name}");
    }
}

#[test]
fn required_arguments_need_no_has() {
    let mut refund = tool("a__refund", Kind::Write, Band::Low, &json!({ "amount": { "type": "integer" } }));
    let text = format!("{PERMIT} @id(\"f\") forbid (principal, action, resource) when {{ context.input.amount > 5 }};");
    let faults = Policies::compile(&[Source { name: "t", text: &text }], std::slice::from_ref(&refund)).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].what.contains("unable to guarantee safety of access to optional attribute"), "{}", faults[0]);
    refund.input_schema["required"] = json!(["amount"]);
    let policies = compile(&text, &[refund]);
    assert_eq!(decide(&policies, "a__refund", &json!({ "amount": 6 })), deny(DenyCause::Forbidden, &["f"]));
    // Validation of the arguments refuses this; if it ever didn't, the rule fails and so the call is denied.
    assert_eq!(decide(&policies, "a__refund", &json!({})), deny(DenyCause::EvaluationError, &["f"]));
}
