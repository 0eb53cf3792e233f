//! The link to the node by itself: what becomes of commands when the node does not keep up.

mod common;

use std::sync::Arc;

use common::{FakeNode, PATIENCE, nowhere, settings};
use sfu::control::{Command, VERSION};
use signaling::driver::{
    calls::{self, Call, News},
    config::Config,
    media::{self, Child, Link, NodeSettings, Place, Status},
    meeting_task::Message,
    metrics::Metrics,
    node_look, serve,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

/// What the meetings are told next.
async fn next(meetings: &mut mpsc::Receiver<Message>) -> News {
    match timeout(PATIENCE, meetings.recv()).await.expect("in time") {
        Some(Message::Media(news)) => news,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn commands_that_are_lost_are_followed_by_a_snapshot() {
    let data = tempfile::tempdir().expect("a folder");
    let node = FakeNode::start(data.path());
    let config = Config::default();
    let (calls, called) = calls::calls();
    let (meetings, mut told) = mpsc::channel(64);
    let (status, _) = watch::channel(Status::Down);
    let (_looks, looks) = node_look::looks();
    let place = Place::Process(Child {
        program: "/nonexistent".into(),
        data: data.path().to_owned(),
        socket: media::socket_path(data.path()).expect("a path"),
        settings: NodeSettings {
            media: config.media,
            log: config.log,
        },
    });
    let link = Link {
        place,
        calls: called,
        meetings,
        status,
        looks,
        metrics: Arc::new(Metrics::new()),
    };
    let (_stop, stops) = oneshot::channel();
    tokio::spawn(link.run(stops));
    assert!(matches!(next(&mut told).await, News::Up { .. }));

    let command = || Call {
        waits: None,
        command: Command::SetNetwork {
            network: Default::default(),
        },
    };
    // As long as this is held the node answers nothing.
    let held = node.told.lock().await;
    let mut sent = 0;
    while calls.send(command()).is_ok() {
        sent += 1;
    }
    drop(held);
    assert!(matches!(next(&mut told).await, News::Again { .. }));
    assert_eq!(node.commands().await, sent, "after all that were not lost");
}

#[tokio::test]
async fn a_node_of_another_version_is_left_alone_and_told_of() {
    let data = tempfile::tempdir().expect("a folder");
    let node = FakeNode::start(data.path());
    node.told.lock().await.version = Some(VERSION + 1);
    let refused = serve::start(&settings(data.path()), nowhere()).await;
    let told = format!("{:#}", refused.expect_err("no link to it"));
    assert!(told.contains("node_version: "), "{told}");
    assert!(
        told.contains(&format!(
            "control protocol {}, this one is {VERSION}",
            VERSION + 1
        )),
        "{told}"
    );
    assert_eq!(node.commands().await, 0, "its meetings go on");
}
