//! What a hostile server does with the role that it is lent, at a real PostgreSQL: whatever it tries, the role is taken back.
#![expect(clippy::unwrap_used, reason = "tests")]

use bailiwick_pipeline::ports::Access;
use tokio_postgres::Client;

use super::*;
use crate::{
    cluster::{Cluster, part},
    stub::{Notes, mint, now_ms, wish},
};

const ROLE: &str = "bailiwick_0123456789abcdef0123456789abcdef";

/// Lends a role to a task that writes; its session, and by what it is taken back.
async fn lent(cluster: &Cluster) -> (Client, Handle) {
    let minted = cluster.provider().mint(&wish(Access::Write, 3600), &Notes::default()).await.unwrap();
    let handle = minted.handle.clone().unwrap();
    assert_eq!(part(minted, "username"), ROLE);
    (cluster.session(ROLE, "app").await.unwrap(), handle)
}

async fn back(cluster: &Cluster, handle: &Handle) -> Result<(), RevokeFault> {
    cluster.provider().revoke(handle, now_ms()).await
}

async fn is_over(session: &Client) -> bool {
    session.simple_query("SELECT 1").await.is_err()
}

#[tokio::test]
async fn a_session_with_the_name_of_the_one_that_made_its_role_is_no_reason_to_leave_it() {
    let Some(cluster) = Cluster::new().await else { return };
    let (session, handle) = lent(&cluster).await;
    session.batch_execute("SET application_name = 'lease-0123456789abcdef0123456789abcdef'").await.unwrap();
    // Nor is one of a role that the gateway has nothing to do with.
    cluster.admin().await.batch_execute("CREATE ROLE other LOGIN").await.unwrap();
    let other = cluster.session("other", "app").await.unwrap();
    other.batch_execute("SET application_name = 'lease-0123456789abcdef0123456789abcdef'").await.unwrap();
    back(&cluster, &handle).await.unwrap();
    assert!(is_over(&session).await && !is_over(&other).await);
    assert_eq!(cluster.made().await, 0);
    back(&cluster, &handle).await.unwrap();
}

#[tokio::test]
async fn a_change_of_its_role_that_a_session_never_ends_holds_nothing_up() {
    let Some(cluster) = Cluster::new().await else { return };
    let (session, handle) = lent(&cluster).await;
    session.batch_execute("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'another one'").await.unwrap();
    // The next ones wait for their turn to do the same.
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let next = cluster.session(ROLE, "app").await.unwrap();
        waiting.push(tokio::spawn(async move { next.batch_execute("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'").await }));
    }
    let since = std::time::Instant::now();
    back(&cluster, &handle).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    assert!(is_over(&session).await && cluster.made().await == 0);
    // One of them may have had its turn when the first was ended: that is taken back with the rest.
    for waiting in waiting {
        let _had_its_turn = waiting.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_that_a_task_makes_is_run_with_the_gateways_rights() {
    let Some(cluster) = Cluster::new().await else { return };
    // It fits better than PostgreSQL's own `count("any")`, for whoever looks into `public` too.
    let trap = "CREATE FUNCTION public.trap(bigint, boolean) RETURNS bigint LANGUAGE plpgsql AS \
        $$ BEGIN EXECUTE 'CREATE ROLE eve LOGIN CREATEROLE'; RETURN 0; EXCEPTION WHEN duplicate_object THEN RETURN 0; END $$; \
        CREATE AGGREGATE public.count(boolean) (sfunc = public.trap, stype = bigint, initcond = '0')";
    let lists = "CREATE TABLE public.pg_stat_activity (pid int, usename name, application_name text); \
        CREATE TABLE public.pg_roles (rolname name)";
    // As PostgreSQL has it, and in the database of a careless admin.
    for (made, path) in [(trap, "\"$user\", public"), (lists, "public, pg_catalog")] {
        cluster.admin().await.batch_execute(&format!("ALTER DATABASE app SET search_path = {path}")).await.unwrap();
        let (session, handle) = lent(&cluster).await;
        session.batch_execute(made).await.unwrap();
        back(&cluster, &handle).await.unwrap();
        assert!(is_over(&session).await, "{path}: its session was looked for in the true list");
        let eve = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = 'eve'";
        let eve = cluster.admin().await.query_opt(eve, &[]).await.unwrap();
        assert!(eve.is_none(), "{path}: a role was made with the gateway's rights");
    }
}

#[tokio::test]
async fn what_it_owns_elsewhere_and_all_the_places_that_it_takes_do_not_keep_it() {
    let Some(cluster) = Cluster::new().await else { return };
    let (session, handle) = lent(&cluster).await;
    let elsewhere = cluster.session(ROLE, "postgres").await.unwrap();
    elsewhere.batch_execute("SELECT lo_create(0)").await.unwrap();
    let mut sessions = vec![session, elsewhere];
    while let Ok(more) = cluster.session(ROLE, "app").await {
        sessions.push(more);
        assert!(sessions.len() <= 20, "the server has 40 places");
    }
    back(&cluster, &handle).await.unwrap();
    assert!(is_over(sessions.first().unwrap()).await && cluster.made().await == 0);
    let owner = "SELECT lomowner::regrole::text FROM pg_largeobject_metadata";
    let there = cluster.session("postgres", "postgres").await.unwrap();
    assert_eq!(there.query_one(owner, &[]).await.unwrap().get::<_, String>(0), "tickets_rw");
}

#[tokio::test]
async fn a_role_is_not_back_for_the_reason_that_whoever_gets_its_things_is_gone() {
    let Some(cluster) = Cluster::new().await else { return };
    let (session, handle) = lent(&cluster).await;
    session.batch_execute("CREATE TABLE mine (id int)").await.unwrap();
    let gone = "REASSIGN OWNED BY tickets_rw TO postgres; DROP OWNED BY tickets_rw; DROP ROLE tickets_rw";
    cluster.admin().await.batch_execute(gone).await.unwrap();
    let fault = back(&cluster, &handle).await.unwrap_err();
    assert!(fault.why.contains("`tickets_rw`") && fault.why.contains("create it again"), "{fault}");
    assert!(is_over(&session).await && cluster.session(ROLE, "app").await.is_err(), "nobody is there, and nobody logs in");
    cluster.admin().await.batch_execute("CREATE ROLE tickets_rw; GRANT tickets_rw TO bailiwick WITH ADMIN OPTION").await.unwrap();
    back(&cluster, &handle).await.unwrap();
    assert_eq!(cluster.made().await, 0);
    // And where it owns nothing, nobody has to get it.
    let (_session, handle) = lent(&cluster).await;
    let gone = "DROP OWNED BY tickets_rw; REASSIGN OWNED BY tickets_rw TO postgres; DROP ROLE tickets_rw";
    cluster.admin().await.batch_execute(gone).await.unwrap();
    back(&cluster, &handle).await.unwrap();
    assert_eq!(cluster.made().await, 0);
}

#[tokio::test]
async fn a_role_that_is_more_than_rights_to_data_is_not_lent() {
    let Some(cluster) = Cluster::new().await else { return };
    let admin = cluster.admin().await;
    for (much, less) in [
        ("ALTER ROLE tickets_rw CREATEROLE", "ALTER ROLE tickets_rw NOCREATEROLE"),
        ("GRANT pg_read_server_files TO tickets_rw", "REVOKE pg_read_server_files FROM tickets_rw"),
        ("CREATE ROLE held; GRANT held TO tickets_rw WITH ADMIN OPTION", "REVOKE held FROM tickets_rw; DROP ROLE held"),
    ] {
        admin.batch_execute(much).await.unwrap();
        let (minted, kept) = mint(&cluster.provider(), Access::Write).await;
        let fault = minted.unwrap_err();
        assert!(fault.kind == MintFaultKind::Generous && fault.why.contains("`tickets_rw`"), "{much}: {fault}");
        assert!(kept.is_some() && cluster.made().await == 0, "{much}");
        admin.batch_execute(less).await.unwrap();
    }
    mint(&cluster.provider(), Access::Write).await.0.unwrap();
}

#[tokio::test]
async fn a_server_that_would_have_the_password_itself_gets_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut wire, _) = listener.accept().await.unwrap();
        let mut first = [0; 1024];
        assert!(wire.read(&mut first).await.unwrap() > 0);
        wire.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).await.unwrap();
        let mut rest = Vec::new();
        wire.read_to_end(&mut rest).await.ok();
        rest
    });
    let folder = tempfile::tempdir().unwrap();
    let provider = crate::cluster::provider_at(folder.path(), port);
    let fault = mint(&provider, Access::Write).await.0.unwrap_err();
    assert!(fault.kind == MintFaultKind::Wrong && fault.why.contains("in the clear"), "{fault}");
    assert_eq!(heard.await.unwrap(), Vec::<u8>::new());
}

#[test]
fn the_driver_takes_only_the_server_that_the_gateway_takes() {
    let server = PostgresServer {
        host: "db.example.com".to_owned(),
        port: 5432,
        database: "app".to_owned(),
        user: "bailiwick".to_owned(),
        password_file: None,
        socket: None,
        roots: Some("/etc/ca of ours.pem".into()),
    };
    let lent = LentByPostgres { role: "rw".to_owned(), read_role: "ro".to_owned(), longest: None };
    let material = Postgres::new(server, lent).material("bailiwick_1", "0123456789abcdef");
    let minted = Minted { material, reference: String::new(), expires_at_ms: None, handle: None };
    let dsn = part(minted, "dsn");
    assert!(dsn.ends_with("/app?sslmode=verify-full&sslrootcert=%2Fetc%2Fca%20of%20ours.pem"), "{dsn}");
}
