//! What nobody should send, sent to a real server: each has its stable code, and nothing changes.

mod common;

use common::{Bench, Client, join};
use futures_util::SinkExt;
use serde_json::{Value, json};
use signaling::{driver::auth::Keys, names::Role};
use tokio_tungstenite::tungstenite::{Error, Message};

fn codes(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .filter_map(|message| message["code"].as_str())
        .collect()
}

#[tokio::test]
async fn a_foreign_origin_gets_no_socket() {
    let bench = Bench::start().await;
    let own = &bench.server.http;
    for origin in [
        None,
        Some("null"),
        Some("http://evil.example"),
        Some(&*format!("{own}.evil.example")),
    ] {
        match Client::connect(own, origin).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 403, "{origin:?}"),
            other => panic!("{origin:?}: {:?}", other.map(|_| ())),
        }
    }
    assert!(Client::connect(own, Some(own)).await.is_ok());
}

#[tokio::test]
async fn bad_tokens_close_with_4401_and_take_no_seat() {
    let bench = Bench::start().await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let foreign = Bench {
        keys: Keys::load_or_create(elsewhere.path()).expect("made"),
        data: tempfile::tempdir().expect("a folder"),
        node: bench.node.clone(),
        server: bench.server,
    };
    let bench_token = foreign.token("demo");
    let bench = Bench {
        keys: Keys::load_or_create(bench.data.path()).expect("read"),
        data: bench.data,
        ..foreign
    };
    let (_, resume) = bench.seated("demo", "A").await;
    let resume = resume["resume"].as_str().expect("a token").to_owned();
    // The page of that seat is gone, its seat stays.
    let before = bench.node.commands().await;
    let good = bench.token("demo");
    for (what, token, code) in [
        ("foreign", bench_token, "bad_token"),
        (
            "expired",
            bench.signed("demo", Role::Delegate, -7200, -3600),
            "token_expired",
        ),
        (
            "not yet valid",
            bench.signed("demo", Role::Delegate, 3600, 7200),
            "bad_token",
        ),
        ("a resume token", resume, "bad_token"),
        ("cut off", good[..good.len() - 3].to_owned(), "bad_token"),
        ("nonsense", "a.b.c".to_owned(), "bad_token"),
        ("too long", "a".repeat(8192), "bad_token"),
    ] {
        let mut client = bench.connect().await;
        client.hello(&token, None).await;
        let (messages, close) = client.closed().await;
        assert_eq!((codes(&messages), close), (vec![code], 4401), "{what}");
    }
    assert_eq!(
        bench.node.commands().await,
        before,
        "the node heard of none of it"
    );
}

#[tokio::test]
async fn an_unknown_room_closes_with_4404() {
    let bench = Bench::start().await;
    let mut client = bench.connect().await;
    client.hello(&bench.token("nowhere"), None).await;
    let (messages, close) = client.closed().await;
    assert_eq!((codes(&messages), close), (vec!["unknown_room"], 4404));
}

#[tokio::test]
async fn bad_frames_are_refused_and_the_fifth_ends_the_session() {
    let bench = Bench::start().await;
    let deep = format!(
        r#"{{"type":"ping","id":{}{}}}"#,
        "[".repeat(2000),
        "]".repeat(2000)
    );
    let (mut client, _) = bench.seated("demo", "A").await;
    let before = bench.node.commands().await;
    for text in [
        "{",
        &deep,
        r#"{"type":"publish","source":"mic","on":true,"on":false}"#,
    ] {
        client.send_text(text).await;
        assert_eq!(client.expect("error").await["code"], "bad_message");
    }
    client
        .0
        .send(Message::binary(vec![0_u8; 10]))
        .await
        .expect("sent");
    assert_eq!(client.expect("error").await["code"], "bad_message");
    client.send(&json!({"type": "ping", "id": 9})).await;
    assert_eq!(client.expect("pong").await["id"], 9, "the session goes on");
    client.send_text("[]").await;
    let (messages, close) = client.closed().await;
    assert_eq!((codes(&messages), close), (vec!["bad_message"], 4400));
    assert_eq!(
        bench.node.commands().await,
        before,
        "the node heard of none of it"
    );
}

#[tokio::test]
async fn frames_over_the_limit_close_with_1009() {
    let bench = Bench::start().await;
    for (what, text) in [
        (
            "an offer over 256 KiB",
            json!({"type": "restart", "id": 1, "offer": "x".repeat(300_000)}).to_string(),
        ),
        (
            "a ping over 64 KiB",
            format!(r#"{{"type":"ping","id":1}}{}"#, " ".repeat(70_000)),
        ),
    ] {
        let (mut client, _) = bench.seated("demo", "A").await;
        client.send_text(&text).await;
        let (_, close) = client.closed().await;
        assert_eq!(close, 1009, "{what}");
    }
}

#[tokio::test]
async fn bad_joins_have_their_codes_and_change_nothing() {
    let bench = Bench::start().await;
    let mut client = bench.connect().await;
    client.send(&join(7, "A")).await;
    let early = client.next().await;
    assert_eq!(
        (&early["code"], &early["id"]),
        (&json!("state"), &json!(7)),
        "join before hello"
    );
    client.hello(&bench.token("demo"), None).await;
    assert_eq!(client.next().await["points"], 0);
    for (code, change) in [
        ("bad_name", json!({"name": "a\u{202E}b"})),
        ("bad_name", json!({"name": "\u{200B}"})),
        ("bad_sdp", json!({"offer": "BAD"})),
    ] {
        let mut message = join(8, "A");
        message
            .as_object_mut()
            .expect("an object")
            .extend(change.as_object().expect("an object").clone());
        client.send(&message).await;
        let error = client.next().await;
        assert_eq!((&error["code"], &error["id"]), (&json!(code), &json!(8)));
    }
    for (message, code) in [
        (json!({"type": "restart", "id": 3, "offer": "v=0"}), "state"),
        (json!({"type": "view", "slots": []}), "state"),
        (json!({"type": "publish", "source": "mic", "on": true}), "state"),
        (
            json!({"type": "hello", "version": 1, "token": bench.token("demo")}),
            "state",
        ),
    ] {
        client.send(&message).await;
        assert_eq!(client.next().await["code"], code, "{message}");
    }
    let mut other = bench.connect().await;
    other.hello(&bench.token("demo"), None).await;
    assert_eq!(other.next().await["points"], 0, "nobody sits");
}

#[tokio::test]
async fn the_cap_of_a_room_refuses_newcomers_only() {
    let bench = Bench::start().await;
    let (mut first, joined) = bench.seated("small", "A").await;
    let mut second = bench.connect().await;
    second.hello(&bench.token("small"), None).await;
    second.expect("welcome").await;
    second.send(&join(2, "B")).await;
    assert_eq!(second.next().await["code"], "room_full");
    // The one who sits may join anew.
    first.send(&join(3, "A")).await;
    assert_eq!(first.expect("joined").await["number"], joined["number"]);
}

#[tokio::test]
async fn above_the_rate_messages_are_refused_and_then_the_session_ends() {
    let bench = Bench::start().await;
    let mut client = bench.connect().await;
    client.hello(&bench.token("demo"), None).await;
    for _ in 0..700 {
        if client
            .0
            .send(Message::text(r#"{"type":"ping","id":1}"#))
            .await
            .is_err()
        {
            break;
        }
    }
    let (messages, close) = client.closed().await;
    let answered = messages
        .iter()
        .filter(|message| message["type"] == "pong")
        .count();
    assert!(answered >= 150, "the burst is answered: {answered}");
    assert!(codes(&messages).contains(&"rate_limited"));
    assert_eq!(close, 1008);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_with_4408() {
    let bench = Bench::start().await;
    let mut client = bench.connect().await;
    let (_, close) = client.closed().await;
    assert_eq!(close, 4408);
}
