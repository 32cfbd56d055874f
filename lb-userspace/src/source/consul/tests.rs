//! The source against an agent that answers oddly.

mod agent;

use std::time::Duration;

use agent::{Behaviour, DEADLINE, Fixture, registry, wanted};

use super::*;
use crate::config::{Secret, Token};
use crate::source::Report;

const GOOD: Behaviour = Behaviour::Answers { index: 5, weight: 1 };

#[tokio::test]
async fn changes_are_followed_and_an_index_that_goes_backwards_starts_again() {
    let mut fixture = Fixture::new(&[("web", GOOD)]).await;
    assert_eq!(fixture.weight("web").await, 1);
    fixture.answers("web", 9, 2);
    assert_eq!(fixture.weight("web").await, 2);
    fixture.answers("web", 3, 3);
    assert_eq!(fixture.weight("web").await, 3);
    fixture.until(|asked| asked.len() == 5).await;
    let indices: Vec<_> = fixture.asked().into_iter().map(|(_, query, _)| query.get("index").cloned()).collect();
    assert_eq!(indices, [None, Some("5"), Some("9"), None, Some("3")].map(|index| index.map(str::to_owned)));
    fixture.answers("web", 4, 4);
    assert_eq!(fixture.weight("web").await, 4);
}

#[tokio::test]
async fn an_index_of_zero_does_not_make_a_busy_loop() {
    let body = "[]".to_owned();
    let mut fixture = Fixture::new(&[("web", Behaviour::Says { status: 200, index: Some("0"), body })]).await;
    assert_eq!(fixture.next().await, Report::Snapshot(Snapshot::from([("web".to_owned(), Vec::new().into())])));
    // This agent never blocks: the pause between answers without news is what keeps the number small.
    let begun = tokio::time::Instant::now();
    fixture.until(|asked| asked.len() >= 10).await;
    assert!(begun.elapsed() >= Duration::from_millis(100), "ten questions in {:?}", begun.elapsed());
    let later = fixture.asked().into_iter().skip(1);
    assert!(later.map(|(_, query, _)| query.get("index").cloned()).all(|index| index.as_deref() == Some("1")));
}

#[tokio::test]
async fn every_odd_answer_is_a_problem_with_what_to_do_and_ends_with_a_good_one() {
    let rows = [
        (
            403,
            Some("1"),
            "Permission denied",
            "found 403 Forbidden (Permission denied), expected a token with node:read and service:read on \"web\"",
        ),
        (
            500,
            Some("1"),
            "No cluster leader",
            "found 500 Internal Server Error (No cluster leader), expected 200: the agent's log says more",
        ),
        (
            429,
            None,
            "",
            "found 429 Too Many Requests, expected 200: raise the agent's limits.http_max_conns_per_client",
        ),
        (404, None, "", "found 404 Not Found, expected 200: is this a Consul agent?"),
        (301, None, "", "found 301 Moved Permanently, expected 200: name the agent itself, redirects are not followed"),
        (200, None, "[]", "found an answer without X-Consul-Index, expected Consul's: is this a Consul agent?"),
        (
            200,
            Some("7"),
            "[{]",
            "found an answer that is not a list of Consul's service instances: key must be a string at line 1 column 3",
        ),
    ];
    for (status, index, body, expected) in rows {
        let odd = Behaviour::Says { status, index, body: body.to_owned() };
        let mut fixture = Fixture::new(&[("web", odd)]).await;
        let problem = fixture.problem().await;
        assert!(problem.starts_with("service web: http://127.0.0.1:"), "{problem}");
        assert!(problem.ends_with(&format!("/v1/health/service/web: {expected}")), "{problem}");
        fixture.now("web", GOOD);
        assert_eq!(fixture.weight("web").await, 1, "{expected}");
    }
}

#[tokio::test]
async fn a_huge_answer_is_refused() {
    let body = "x".repeat(33 << 20);
    let mut fixture = Fixture::new(&[("web", Behaviour::Says { status: 200, index: Some("1"), body })]).await;
    let problem = fixture.problem().await;
    assert!(problem.ends_with("larger than 33554432 bytes"), "{problem}");
}

#[tokio::test]
async fn a_service_that_fails_keeps_its_last_good_part_and_the_others_go_on() {
    let mut fixture = Fixture::new(&[("a", GOOD), ("b", GOOD)]).await;
    assert_eq!((fixture.weight("a").await), 1);
    fixture.now("a", Behaviour::Says { status: 500, index: None, body: String::new() });
    // The open question is only answered when there is news for it.
    assert!(fixture.problem().await.contains("service a: "));
    fixture.answers("b", 6, 2);
    let Report::Snapshot(snapshot) = fixture.next().await else { panic!("a snapshot of the others") };
    assert_eq!((snapshot["a"][0].weight, snapshot["b"][0].weight), (1, 2));
    assert!(fixture.problem().await.contains("service a: "), "said again, as the snapshot ended it");
    fixture.answers("a", 5, 1);
    assert_eq!(fixture.weight("a").await, 1, "published though it is the same: it ends the problem");
}

#[tokio::test]
async fn nothing_is_published_before_every_service_is_known() {
    let mut fixture = Fixture::with(&[("a", GOOD)], &wanted(&["a", "b"]), registry).await;
    fixture.until(|asked| asked.iter().any(|(_, query, _)| query.contains_key("index"))).await;
    assert!(fixture.updates.try_recv().is_err());
    fixture.answers("b", 1, 7);
    let Report::Snapshot(snapshot) = fixture.next().await else { panic!("both") };
    assert_eq!((snapshot["a"][0].weight, snapshot["b"][0].weight), (1, 7));
}

#[tokio::test]
async fn tags_datacenter_and_token_are_sent_and_the_token_file_is_read_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "first\n").expect("written");
    let wanted = [Wanted { service: "a b/c".into(), tags: vec!["x&y".into()] }];
    let registry = |address| ConsulRegistry {
        token: Some(Token::File(file.clone())),
        datacenter: Some("east".into()),
        ..registry(address)
    };
    let mut fixture = Fixture::with(&[("a b/c", GOOD)], &wanted, registry).await;
    assert_eq!(fixture.weight("a b/c#x&y").await, 1);
    std::fs::write(&file, "second\n").expect("written");
    // The second question may have been asked before that; the third was not.
    for (index, weight) in [(6, 2), (7, 3)] {
        fixture.answers("a b/c", index, weight);
        fixture.weight("a b/c#x&y").await;
    }
    fixture.until(|asked| asked.len() >= 4).await;
    let asked = fixture.asked();
    let (service, query, token) = &asked[0];
    assert_eq!((service.as_str(), query["tag"].as_str(), query["dc"].as_str()), ("a b/c", "x&y", "east"));
    assert_eq!((token.as_deref(), asked[3].2.as_deref()), (Some("first"), Some("second")));
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_a_problem_without_the_token() {
    // Bound and not listening: nobody else gets the port, and whoever connects is refused.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let address = format!("http://{}", socket.local_addr().expect("an address"));
    let registry = ConsulRegistry { token: Some(Token::Inline(Secret::new("s3cr3t"))), ..registry(address.clone()) };
    let source = Box::new(ConsulSource::new(&registry, &wanted(&["web"])).expect("a source"));
    assert_eq!(source.describe(), format!("consul {address}"));
    assert!(!format!("{source:?}").contains("s3cr3t"));
    let (sender, mut updates) = mpsc::channel(1);
    let task = tokio::spawn(source.follow(Publisher::new("dc1", sender)));
    let update = tokio::time::timeout(DEADLINE, updates.recv()).await.expect("in time").expect("a report");
    let expected = format!(
        "service web: {address}/v1/health/service/web: Connection refused (os error 111): is the agent running, and is \
         this its address?"
    );
    assert_eq!(update.report, Report::Problem(expected));
    drop(updates);
    tokio::time::timeout(DEADLINE, task).await.expect("ends when nobody listens").expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_is_a_problem_in_time() {
    // The kernel accepts for it, nobody reads. The clock is paused: it jumps to the time-out.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let registry = registry(format!("http://{}", listener.local_addr().expect("an address")));
    let source = Box::new(ConsulSource::new(&registry, &wanted(&["web"])).expect("a source"));
    let (sender, mut updates) = mpsc::channel(1);
    let begun = tokio::time::Instant::now();
    tokio::spawn(source.follow(Publisher::new("dc1", sender)));
    let update = updates.recv().await.expect("a report");
    let Report::Problem(problem) = update.report else { panic!("{update:?}") };
    assert!(problem.ends_with("found no answer in time, expected one: is the agent overloaded?"), "{problem}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("ca.pem");
    std::fs::write(&empty, "nothing").expect("written");
    for (path, expected) in [
        (empty, "found no certificate, expected some in PEM"),
        (directory.path().join("none"), "cannot be read: No such file or directory (os error 2), expected a PEM file"),
    ] {
        let expected = format!("ca_file: {}: {expected}", path.display());
        let registry = ConsulRegistry { ca_file: Some(path), ..registry("https://127.0.0.1:1".into()) };
        assert_eq!(format!("{:#}", ConsulSource::new(&registry, &[]).expect_err("refused")), expected);
    }
}
