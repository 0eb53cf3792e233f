//! A node of whose shards one hangs: it is as if that one were not there, until it goes on.

use sfu::{
    control::{Command, Reply},
    driver::{
        client::{self, Client as Control},
        node::{self, Fault},
    },
};

use crate::{
    client::{Client, candidate},
    kit::*,
    shards::*,
};

/// Waits until it is noticed that one of the room's shards does not answer: who told it to stand still is no part of the connection.
async fn hangs(control: &Control) {
    while all_answer(control).await {}
}

/// Waits until all shards of the room answer.
async fn goes_on(control: &Control) {
    while !all_answer(control).await {}
}

async fn all_answer(control: &Control) -> bool {
    let room = id("sang");
    control.call(Command::Inspect { room }).await.is_ok()
}

/// A shard that stands still has its own people wait, and nobody else; who offers again is taken elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_hangs_holds_up_nobody_elsewhere() {
    let (node, connector, faults) = start_failing(2);
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    open(&control, "sang").await;
    open(&control, "chieu").await;
    enter(&control, &mut events, "sang", ("an", 1)).await;
    let (mut binh, _) = enter(&control, &mut events, "chieu", ("binh", 1)).await;
    assert!(
        metrics(&control)
            .await
            .contains("diemcau_shard_endpoints{shard=\"0\"} 1\n")
    );
    let (release, held) = std::sync::mpsc::channel();
    let hold = Fault::Hold(held);
    faults.send((0, hold)).await.expect("the node lives");
    hangs(&control).await;
    // Signaling that comes anew is answered, with who is not on it.
    let (control, mut events, _) = client::connect_in_process(&connector).await.expect("a node");
    let rooms = snapshot(&control).await;
    let all: Vec<_> = rooms.iter().map(seats).collect();
    assert_eq!(all, [vec![("binh", 1, true)], vec![]]);
    for room in ["sang", "chieu"] {
        open(&control, room).await;
    }
    let (mut chi, _) = enter(&control, &mut events, "chieu", ("chi", 2)).await;
    look(&control, "chieu", "chi", 1).await;
    see(&mut binh, &mut chi, &mut 0, 10).await;
    let (_an, again) = enter(&control, &mut events, "sang", ("an", 1)).await;
    assert_eq!(candidate(&again), welcome.media[1]);
    // It goes on, and has nobody's media any more.
    drop(release);
    while metrics(&control)
        .await
        .contains("diemcau_shard_endpoints{shard=\"0\"} 1\n")
    {}
    let rooms = snapshot(&control).await;
    let all: Vec<_> = rooms.iter().map(seats).collect();
    assert_eq!(
        all,
        [vec![("binh", 1, true), ("chi", 2, true)], vec![("an", 1, true)]]
    );
    let (_release, held) = std::sync::mpsc::channel();
    let hold = Fault::Hold(held);
    faults.send((1, hold)).await.expect("the node lives");
    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(
        node.await.expect("no panic").expect("ended well"),
        node::Ended::Asked
    );
}

#[tokio::test]
async fn halves_that_a_shard_kept_apart_while_it_hung_find_each_other_when_it_goes_on() {
    let (node, connector, faults) = start_failing(2);
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    open(&control, "sang").await;
    let (mut an, _) = enter(&control, &mut events, "sang", ("an", 1)).await;
    enter(&control, &mut events, "sang", ("chi", 3)).await;
    let (release, held) = std::sync::mpsc::channel();
    let hold = Fault::Hold(held);
    faults.send((0, hold)).await.expect("the node lives");
    hangs(&control).await;
    let (mut binh, at) = enter(&control, &mut events, "sang", ("binh", 2)).await;
    assert_eq!(candidate(&at), welcome.media[1]);
    look(&control, "sang", "binh", 1).await;
    // Who leaves meanwhile has left, and is not there when it goes on.
    let (room, seat) = (id("sang"), seat("chi"));
    let left = control.call(Command::Leave { room, seat }).await;
    assert_eq!(left, Ok(Reply::Done));
    drop(release);
    goes_on(&control).await;
    let rooms = snapshot(&control).await;
    assert_eq!(seats(&rooms[0]), [("an", 1, true), ("binh", 2, true)]);
    metrics(&control).await;
    see(&mut an, &mut binh, &mut 0, 10).await;
    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    node.await.expect("no panic").expect("ended well");
}

/// Who comes back to a third shard is seen by the half that is left, which keeps nobody of the half that hangs; and by that when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_moves_off_a_shard_that_hangs_is_seen_by_the_others() {
    let (_node, connector, faults) = start_failing(3);
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    let mut all = spread(&control, &mut events).await;
    let mut frame = 0;
    look(&control, "sang", "chi", 1).await;
    while of(&all[2], camera(1)) < 10 {
        turn(&mut all, &mut frame).await;
    }
    let (release, held) = std::sync::mpsc::channel();
    let hold = Fault::Hold(held);
    faults.send((0, hold)).await.expect("the node lives");
    hangs(&control).await;
    let (an, answer) = enter(&control, &mut events, "sang", ("an", 1)).await;
    assert_eq!(candidate(&answer), welcome.media[2]);
    all[0] = an;
    shows(&mut all, 2, &mut frame).await;
    drop(release);
    goes_on(&control).await;
    metrics(&control).await;
    look(&control, "sang", "binh", 1).await;
    shows(&mut all, 1, &mut frame).await;
}

/// The one at that place gets pictures of the first.
async fn shows(all: &mut [Client; 4], place: usize, frame: &mut u16) {
    let goal = of(&all[place], camera(1)) + 10;
    for _ in 0..300 {
        turn(all, frame).await;
        if of(&all[place], camera(1)) >= goal {
            return;
        }
    }
    panic!("no pictures come");
}
