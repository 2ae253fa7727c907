//! What owners consented to, when the connector is another one, and when it is over.

use super::*;
use crate::consenting::{
    self,
    kit::{Issuer, until},
};

const OWNER: &str = "o@example.com";

fn grant_of_both() -> String {
    grant("").replace("[\"s__*\"]", "[\"one__*\", \"two__*\"]")
}

async fn lent(house: &House, connector: &str) -> Result<String, String> {
    let grant = house.runtime.grants.by_id(&"g".parse().unwrap()).unwrap();
    let connector = connector.parse().unwrap();
    let wanted = Wanted {
        grant: &grant,
        connector: &connector,
        access: Access::Read,
        most: &|| Access::Read,
        now_ms: SystemClock.now_ms(),
    };
    let lent = house.runtime.broker.lend(wanted).await;
    lent.map(|lent| lent.unwrap().lease.id.clone()).map_err(|failure| failure.why)
}

#[tokio::test]
async fn a_token_for_one_server_is_shown_to_no_other_when_the_address_changes() {
    let issuer = Issuer::start().await;
    let with = |path: &str| format!("{AGENT}{}{}", issuer.config(&[("one", path)]), grant_of_both().replace(", \"two__*\"", ""));
    let house = House::new(&with("/first")).await;
    issuer.consented(&house.runtime, "/first", OWNER).await;
    let before = lent(&house, "one").await.unwrap();
    assert_eq!(lent(&house, "one").await.unwrap(), before, "it is lent for the whole task");
    house.write(&with("/other"));
    house.reload().await.unwrap();
    let why = lent(&house, "one").await.unwrap_err();
    assert!(why.contains("`o@example.com` has not consented to `one`"), "{why}");
    until(|| issuer.came("/revoke").iter().any(|body| body.contains("token=access-token-"))).await;
}

#[tokio::test]
async fn whoever_ends_a_consent_ends_what_came_of_it_by_whichever_connector() {
    let issuer = Issuer::start().await;
    let text = format!("{AGENT}{}{}", issuer.config(&[("one", "/mcp"), ("two", "/mcp")]), grant_of_both());
    let house = House::new(&text).await;
    issuer.consented(&house.runtime, "/mcp", OWNER).await;
    lent(&house, "one").await.unwrap();
    lent(&house, "two").await.unwrap();
    let of = consenting::wanted(&house.runtime).remove(0);
    house.runtime.consents.end(&of, OWNER).await.unwrap();
    consenting::returned(&house.runtime, &of.resource(), OWNER);
    until(|| issuer.came("/revoke").len() == 3).await;
    for connector in ["one", "two"] {
        assert!(lent(&house, connector).await.unwrap_err().contains("has not consented"));
    }
}

#[tokio::test]
async fn what_is_being_made_when_a_consent_ends_is_lent_to_nobody() {
    let issuer = Issuer::start().await;
    let text = format!("{AGENT}{}{}", issuer.config(&[("one", "/mcp")]), grant_of_both().replace(", \"two__*\"", ""));
    let house = House::new(&text).await;
    issuer.consented(&house.runtime, "/mcp", OWNER).await;
    let held = issuer.hold().await;
    let ending = async {
        until(|| issuer.came("/token").len() == 1).await;
        consenting::returned(&house.runtime, &format!("{}/mcp", issuer.at), OWNER);
        drop(held);
    };
    let (lent, ()) = tokio::join!(lent(&house, "one"), ending);
    assert!(lent.is_err(), "{lent:?}");
    until(|| issuer.came("/revoke").len() == 1).await;
}

#[tokio::test]
async fn a_consent_that_was_changed_in_the_file_is_used_for_nobody() {
    for sql in [
        "UPDATE consents SET record = replace(record, 'o@example.com', 'p@example.com')",
        "UPDATE consents SET record = replace(record, '\"read\"', '\"read\",\"admin\"')",
        "UPDATE consents SET owner = 'p@example.com'",
    ] {
        let issuer = Issuer::start().await;
        let text = format!("{AGENT}{}{}", issuer.config(&[("one", "/mcp")]), grant_of_both().replace(", \"two__*\"", ""));
        let text = text.replace(OWNER, "p@example.com");
        let house = House::new(&text).await;
        issuer.consented(&house.runtime, "/mcp", OWNER).await;
        house.tamper(sql);
        let why = lent(&house, "one").await.unwrap_err();
        assert!(why.contains("the consents can't be read"), "{sql}: {why}");
        assert!(issuer.came("/token").is_empty(), "{sql}");
    }
}
