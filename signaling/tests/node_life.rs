//! The program and its node: which of the two outlives the other, and how both end.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    diemcau,
    program::{Serving, expect_kept, full_disk_instead_of, signal, sit_down},
    with_few_files,
};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test]
async fn a_node_whose_log_cannot_be_written_keeps_its_meetings() {
    let data = tempfile::tempdir().expect("a folder");
    full_disk_instead_of(&data.path().join("node.log"));
    let mut serving = Serving::start(data.path(), "info").await;
    let token = serving.text("token").to_owned();
    let resume = sit_down(&serving).await;
    let node = serving.ready["node_pid"].clone();
    serving.child.kill().await.expect("killed");
    let serving = Serving::start(data.path(), "info").await;
    expect_kept(&serving, &node, &token, &resume).await;
    serving.stop().await;
}

#[tokio::test]
async fn at_sighup_signaling_ends_and_the_node_keeps_its_meetings() {
    let data = tempfile::tempdir().expect("a folder");
    // Also where the tests run under nohup.
    let mut program = Command::new("env");
    program
        .env_clear()
        .env("DIEMCAU__DATA", data.path())
        .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_diemcau")]);
    let mut serving = Serving::start_by(program, data.path(), "info").await;
    let token = serving.text("token").to_owned();
    let resume = sit_down(&serving).await;
    let node = serving.ready["node_pid"].clone();
    signal("-HUP", serving.child.id().expect("runs"));
    let ended = tokio::time::timeout(common::PATIENCE, serving.child.wait()).await;
    assert!(ended.expect("in time").expect("waited").success());
    let serving = Serving::start(data.path(), "info").await;
    expect_kept(&serving, &node, &token, &resume).await;
    serving.stop().await;
}

#[tokio::test]
async fn under_nohup_a_closed_terminal_changes_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let mut program = Command::new("sh");
    program.env_clear().env("DIEMCAU__DATA", data.path()).args([
        "-c",
        "trap '' HUP && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_diemcau"),
    ]);
    let serving = Serving::start_by(program, data.path(), "info").await;
    signal("-HUP", serving.child.id().expect("runs"));
    // Told both at once it might take the second alone.
    let ready = common::get(&format!("{}/readyz", serving.text("http"))).await;
    assert_eq!(ready.0, 200);
    serving.stop().await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("read");
    assert!(
        log.contains("diemcau stops\n"),
        "at SIGTERM alone, and with its node: {log}"
    );
}

#[test]
fn the_unit_of_systemd_lets_the_node_outlive_signaling() {
    let unit = include_str!("../../deploy/diemcau.service");
    for line in [
        "KillMode=process",
        "OOMPolicy=continue",
        "Restart=always",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(unit.lines().any(|known| known == line), "{line}");
    }
}

#[tokio::test]
async fn a_server_whose_words_go_nowhere_serves_and_ends_its_node() {
    let data = tempfile::tempdir().expect("a folder");
    full_disk_instead_of(&data.path().join("serve.log"));
    let serving = Serving::start(data.path(), "info").await;
    serving.stop().await;
    let socket = std::os::unix::net::UnixStream::connect(data.path().join("node.sock"));
    assert!(socket.is_err(), "the node has ended");
}

#[tokio::test]
async fn a_node_that_hangs_ends_with_the_service() {
    let data = tempfile::tempdir().expect("a folder");
    let mut serving = Serving::start(data.path(), "info").await;
    let node = serving.ready["node_pid"].as_u64().expect("a process");
    signal("-STOP", node.try_into().expect("a number"));
    serving.child.kill().await.expect("killed");
    // The next one says how many places it has, and then waits for the node's answer until it is told to end.
    let mut command = tokio::process::Command::from(with_few_files(data.path(), 256));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let mut next = command
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(next.stderr.take().expect("piped")).lines();
    loop {
        let line = lines.next_line().await.expect("readable");
        if line.expect("it goes on").contains("places_few: ") {
            break;
        }
    }
    signal("-TERM", next.id().expect("runs"));
    let ended = tokio::time::timeout(common::PATIENCE, next.wait()).await;
    assert!(ended.expect("in time").expect("waited").success());
    let socket = std::os::unix::net::UnixStream::connect(data.path().join("node.sock"));
    assert!(socket.is_err(), "the node has ended");
}

#[tokio::test]
async fn a_node_that_is_found_with_other_settings_goes_on_and_they_are_named_once() {
    let data = tempfile::tempdir().expect("a folder");
    let mut serving = Serving::start(data.path(), "info").await;
    let node = serving.ready["node_pid"].clone();
    serving.child.kill().await.expect("killed");
    let mut other = diemcau(data.path());
    other
        .env("DIEMCAU__MEDIA__ENDPOINTS_MAX", "700")
        .env("DIEMCAU__MEDIA__WEAK_SRTP", "false");
    let serving = Serving::start_by(other, data.path(), "info").await;
    assert_eq!(serving.ready["node_pid"], node, "its meetings would end with it");
    let metrics = common::get(serving.text("metrics")).await.1;
    assert!(metrics.contains("\ndiemcau_node_settings_stale 2\n"), "{metrics}");
    serving.stop().await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("read");
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("node_settings_stale: "))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(
        told[0].contains(": media.endpoints_max, media.weak_srtp;"),
        "{log}"
    );
    let serving = Serving::start(data.path(), "info").await;
    let metrics = common::get(serving.text("metrics")).await.1;
    assert!(metrics.contains("\ndiemcau_node_settings_stale 0\n"), "{metrics}");
    serving.stop().await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("read");
    assert!(!log.contains("node_settings_stale"), "{log}");
}

#[tokio::test]
async fn a_node_that_dies_is_started_from_the_program_that_runs_whatever_lies_there_now() {
    let data = tempfile::tempdir().expect("a folder");
    // Beside the program: a copy that is being written cannot be run while another test starts something.
    let program = Path::new(env!("CARGO_BIN_EXE_diemcau"));
    let place = tempfile::tempdir_in(program.parent().expect("a folder")).expect("a folder");
    let (file, next) = (place.path().join("diemcau"), place.path().join("next"));
    fs::hard_link(program, &file).expect("linked");
    let mut command = Command::new(&file);
    command.env_clear().env("DIEMCAU__DATA", data.path());
    let serving = Serving::start_by(command, data.path(), "info").await;
    fs::write(&next, "#!/bin/sh\nexit 1\n").expect("written");
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).expect("changed");
    fs::rename(&next, &file).expect("replaced");
    let ready = format!("{}/readyz", serving.text("http"));
    let node = serving.ready["node_pid"].as_u64().expect("a process");
    let name = fs::read_to_string(format!("/proc/{node}/comm"));
    assert_eq!(name.expect("read"), "diemcau\n");
    signal("-KILL", node.try_into().expect("a number"));
    let log = data.path().join("serve.log");
    let again = async {
        let is_here = |log: String| log.matches("the media node is here").count() == 2;
        while !is_here(fs::read_to_string(&log).expect("a log")) {
            tokio::task::yield_now().await;
        }
        while common::get(&ready).await.0 != 200 {}
    };
    tokio::time::timeout(common::PATIENCE, again)
        .await
        .expect("a node");
    serving.stop().await;
}
