use super::{ATTRIBUTE_LENGTH, Plan, Reader, Settings, read, variables::percent_decoded};
use crate::{Fault, sampling::Sampler};

fn plan_of(variables: &[(&str, &str)], settings: &Settings) -> Result<Option<Plan>, Fault> {
    let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    read(&env, settings)
}

fn plan(variables: &[(&str, &str)]) -> Result<Option<Plan>, Fault> {
    plan_of(variables, &Settings::default())
}

#[test]
fn nothing_is_exported_unless_something_says_where() {
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_SDK_DISABLED", "TRUE")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_TRACES_SAMPLER", "always_off")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_TRACES_SAMPLER", "parentbased_always_off")],
        &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:4318")],
        &[("OTEL_SERVICE_NAME", "x")],
    ] {
        assert!(plan(variables).unwrap().is_none(), "{variables:?}");
    }
}

#[test]
fn the_address_follows_the_otlp_rules() {
    let base = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    for (variables, address) in [
        (&[(base, "http://c:4318")][..], "http://c:4318/v1/traces"),
        (&[(base, "http://c:4318/")], "http://c:4318/v1/traces"),
        (&[(base, "http://c:4318/otlp/")], "http://c:4318/otlp/v1/traces"),
        (&[(base, "http://c:4318/otlp?key=1")], "http://c:4318/otlp/v1/traces?key=1"),
        (&[(own, "http://c:4318")], "http://c:4318/"),
        (&[(own, "http://c:4318/mine"), (base, "http://d:1")], "http://c:4318/mine"),
        (&[("OTEL_TRACES_EXPORTER", "otlp")], "http://localhost:4318/v1/traces"),
        (&[(base, "http://c:4318"), ("OTEL_SDK_DISABLED", "yes")], "http://c:4318/v1/traces"),
    ] {
        assert_eq!(plan(variables).unwrap().unwrap().destination.url.as_str(), address, "{variables:?}");
    }
}

#[test]
fn variables_win_over_the_configuration() {
    let settings = Settings { endpoint: Some("http://config:1".to_owned()), ratio: Some(0.5), ..Settings::default() };
    let from_config = plan_of(&[], &settings).unwrap().unwrap();
    assert_eq!(from_config.destination.url.as_str(), "http://config:1/v1/traces");
    assert_eq!(from_config.sampler, Sampler::ratio(0.5));
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:2"), ("OTEL_TRACES_SAMPLER", "always_on")];
    let from_env = plan_of(&variables, &settings).unwrap().unwrap();
    assert_eq!(from_env.destination.url.as_str(), "http://env:2/v1/traces");
    assert_eq!(from_env.sampler, Sampler::Everything);
}

#[test]
fn limits_are_read_and_bounded() {
    let on = ("OTEL_TRACES_EXPORTER", "otlp");
    let defaults = plan(&[on]).unwrap().unwrap();
    assert_eq!((defaults.limits.queue_spans, defaults.limits.batch_spans), (16_384, 2048));
    assert_eq!((defaults.limits.delay.as_millis(), defaults.destination.timeout.as_millis()), (1000, 10_000));
    assert_eq!(defaults.limits.attribute_length, ATTRIBUTE_LENGTH);
    let set = plan(&[
        on,
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "12"),
    ])
    .unwrap()
    .unwrap();
    assert_eq!((set.limits.queue_spans, set.limits.batch_spans), (100, 100));
    assert_eq!((set.limits.delay.as_millis(), set.destination.timeout.as_millis()), (5, 2));
    assert_eq!(set.limits.attribute_length, 12);
    let raised = plan(&[on, ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100000")]).unwrap().unwrap();
    assert_eq!(raised.limits.attribute_length, ATTRIBUTE_LENGTH);
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
    let fault = plan(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=a%0Ahidden,broken-secret"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
    ])
    .err()
    .unwrap();
    assert_eq!(fault.problems().len(), 6, "{fault}");
    let text = fault.to_string();
    assert!(text.contains("OTEL_EXPORTER_OTLP_PROTOCOL: `grpc` is not `http/protobuf`"), "{text}");
    assert!(!text.contains("hidden") && !text.contains("secret"), "{text}");
}

#[test]
fn one_wrong_value_is_a_fault() {
    let on = ("OTEL_TRACES_EXPORTER", "otlp");
    for variables in [
        &[("OTEL_TRACES_EXPORTER", "console")][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")],
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://")],
        &[on, ("OTEL_TRACES_SAMPLER", "jaeger_remote")],
        &[on, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1.5")],
        &[on, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "NaN")],
        &[on, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")],
        &[on, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
        &[on, ("OTEL_EXPORTER_OTLP_HEADERS", "=value")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist.pem")],
    ] {
        let fault = plan(variables).err();
        assert_eq!(fault.map(|fault| fault.problems().len()), Some(1), "{variables:?}");
    }
}

#[test]
fn the_headers_for_traces_replace_the_general_ones() {
    let plan = plan(&[
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-general=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-traces=a%20b,, content-type=text/plain"),
    ])
    .unwrap()
    .unwrap();
    let headers = &plan.destination.headers;
    assert_eq!(headers.get("x-traces").unwrap(), "a b");
    assert!(headers.get("x-traces").unwrap().is_sensitive());
    assert_eq!(headers.get("content-type").unwrap(), "application/x-protobuf");
    assert_eq!(headers.len(), 2);
}

#[test]
fn the_resource_names_what_made_the_spans() {
    let env = |name: &str| {
        (name == "OTEL_RESOURCE_ATTRIBUTES").then(|| "service.name=a,service.instance.id=i,telemetry.sdk.name=b".to_owned())
    };
    let resource = Reader { env: &env, problems: Vec::new() }.resource(&Settings::default());
    let value = |key: &str| resource.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    assert_eq!(value("service.name"), Some("a"));
    assert_eq!(value("service.instance.id"), Some("i"));
    assert_eq!(value("telemetry.sdk.name"), Some("bailiwick-telemetry"));
    assert_eq!(resource.len(), 6);
}

#[test]
fn percent_encoding_is_read_strictly() {
    assert_eq!(percent_decoded("a%20b%C3%A9").as_deref(), Some("a bé"));
    for text in ["%", "%2", "%zz", "%+1", "%ff"] {
        assert_eq!(percent_decoded(text), None, "{text}");
    }
}
